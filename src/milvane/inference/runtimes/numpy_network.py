"""Any network in plain NumPy and f32: the reference for other runtimes, and the last resort."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Internal
from milvane.inference.cores import usable_cores
from milvane.inference.runtimes.network import (
    Attention,
    Feedforward,
    Head,
    Layer,
    Linear,
    Network,
    Norm,
)

Floats = NDArray[np.float32]
_NOTHING = np.float32(-1e9)


class NumpyNetwork:
    """A `Runtime` that needs nothing but NumPy."""

    precision = "f32"

    def __init__(self, network: Network, head: Head) -> None:
        """
        Hold a network.

        Args:
            network: Used as it is, not copied.

            head: What becomes of its states.
        """
        self.name = f"NumPy {np.__version__}"
        self.threads = usable_cores()
        # The server keeps NumPy from threads of its own (`cli.serving`): passes run beside others.
        self.concurrency = self.threads
        self.packs = False
        self.width = head.width_after(network.width)
        self.max_tokens = network.max_tokens
        self.weighs_tokens = network.token_head is not None
        self._head = head
        self._network: Network | None = network

    def forward(self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]) -> Floats:
        """Run the network over one padded batch; see `Runtime.forward`."""
        if self._network is None:
            raise Internal("the network is closed")
        states = _states(self._network, token_ids, lengths)
        pooled = _pool(states, lengths, self._head.pooling)
        for projection in self._head.projections:
            pooled = _apply(projection.linear, pooled)
            pooled = np.tanh(pooled) if projection.activation == "tanh" else pooled
        token_head = self._network.token_head
        if token_head is None:
            return pooled
        weights = np.maximum(_apply(token_head, states)[:, :, 0], 0)
        return np.concatenate([pooled, weights], axis=1)

    def close(self) -> None:
        """Let go of the tensors."""
        self._network = None


def _states(network: Network, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]) -> Floats:
    tokens = token_ids.shape[1]
    real = np.arange(tokens) < lengths[:, None]
    states = network.words.f32()[token_ids]
    if network.positions is not None:
        states = states + network.positions[:tokens]
    if network.constant is not None:
        states = states + network.constant
    states = _normalize(states, network.embedding_norm)
    for layer in network.layers:
        states = _run_layer(network, layer, states, real)
    return _normalize(states, network.final_norm)


def _run_layer(network: Network, layer: Layer, states: Floats, real: NDArray[np.bool_]) -> Floats:
    if network.norms_first:
        normal = _normalize(states, layer.attention_norm)
        states = states + _attend(network, layer.attention, normal, real)
        normal = _normalize(states, layer.feedforward_norm)
        return states + _feed(layer.feedforward, normal, network.activation)
    states = _normalize(
        states + _attend(network, layer.attention, states, real), layer.attention_norm
    )
    inner = _feed(layer.feedforward, states, network.activation)
    return _normalize(states + inner, layer.feedforward_norm)


def _attend(
    network: Network, attention: Attention, states: Floats, real: NDArray[np.bool_]
) -> Floats:
    """Let every token look at those that it may see; shape as `states`."""
    batch, tokens, _ = states.shape

    def by_head(linear: Linear, norm: Norm | None) -> Floats:
        split = _apply(linear, states).reshape(batch, tokens, -1, network.head_width)
        return np.asarray(_normalize(split, norm).transpose(0, 2, 1, 3))

    query = _rotate(by_head(attention.query, attention.query_norm), attention)
    key = _rotate(by_head(attention.key, attention.key_norm), attention)
    value = by_head(attention.value, None)
    shared = network.heads // network.key_heads
    key, value = np.repeat(key, shared, axis=1), np.repeat(value, shared, axis=1)
    scores = query @ key.transpose(0, 1, 3, 2) * np.float32(network.head_width**-0.5)
    seen = real[:, None, None, :] & _reach(tokens, attention.reach, causal=network.causal)
    scores = np.where(seen, scores, _NOTHING)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    joined = (scores @ value).transpose(0, 2, 1, 3).reshape(batch, tokens, -1)
    return _apply(attention.output, joined)


def _reach(tokens: int, reach: int | None, *, causal: bool) -> NDArray[np.bool_]:
    distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
    seen = np.ones((tokens, tokens), np.bool_)
    if causal:
        seen &= distance >= 0
    if reach is not None:
        seen &= np.abs(distance) <= reach
    return seen


def _rotate(states: Floats, attention: Attention) -> Floats:
    if attention.frequencies is None:
        return states
    angles = np.outer(np.arange(states.shape[2], dtype=np.float32), attention.frequencies)
    cosines = np.concatenate([np.cos(angles)] * 2, axis=1)
    sines = np.concatenate([np.sin(angles)] * 2, axis=1)
    first, second = np.split(states, 2, axis=-1)
    return np.asarray(
        states * cosines + np.concatenate([-second, first], axis=-1) * sines, np.float32
    )


def _feed(inner: Feedforward, states: Floats, activation: str) -> Floats:
    up = _apply(inner.up, states)
    if inner.gate is None:
        return _apply(inner.down, _activate(up, activation))
    return _apply(inner.down, _activate(_apply(inner.gate, states), activation) * up)


def _pool(states: Floats, lengths: NDArray[np.int32], pooling: str) -> Floats:
    real = np.arange(states.shape[1]) < lengths[:, None]
    if pooling == "cls":
        return np.array(states[:, 0])
    if pooling == "last":
        return np.asarray(states[np.arange(len(states)), lengths - 1])
    if pooling == "max":
        return np.asarray(np.where(real[:, :, None], states, _NOTHING).max(axis=1))
    weights = real.astype(np.float32) / lengths[:, None].astype(np.float32)
    return np.asarray(np.einsum("bt,bth->bh", weights, states), np.float32)


def _apply(linear: Linear, states: Floats) -> Floats:
    product = states @ linear.weight.f32().T
    return np.asarray(product if linear.bias is None else product + linear.bias)


def _normalize(states: Floats, norm: Norm | None) -> Floats:
    if norm is None:
        return states
    centred = states - states.mean(axis=-1, keepdims=True) if norm.centres else states
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    scaled = centred / np.sqrt(variance + np.float32(norm.epsilon)) * norm.scale
    return np.asarray(scaled if norm.shift is None else scaled + norm.shift, np.float32)


def _activate(values: Floats, activation: str) -> Floats:
    if activation == "silu":
        return np.asarray(values / (1 + np.exp(-values)))
    return np.asarray(0.5 * values * (1 + _erf(values * np.float32(0.5**0.5))))


def _erf(values: Floats) -> Floats:
    # Abramowitz and Stegun 7.1.26: within 1.5e-7, about the rounding of f32.
    size = np.abs(values)
    t = 1 / (1 + np.float32(0.3275911) * size)
    terms = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    series = np.zeros_like(t)
    for term in reversed(terms):
        series = (series + np.float32(term)) * t
    return np.asarray(np.sign(values) * (1 - series * np.exp(-size * size)))
