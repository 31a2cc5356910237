"""BERT in plain NumPy and f32: the reference for other runtimes, and the fallback without them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Internal
from milvane.inference.cores import usable_cores
from milvane.inference.runtimes.bert_checkpoint import BertCheckpoint, BertLayer, Linear, Norm

Floats = NDArray[np.float32]


class NumpyBert:
    """A `Runtime` that needs nothing but NumPy."""

    precision = "f32"
    concurrency = 1  # NumPy's own matrix products take all cores

    def __init__(self, checkpoint: BertCheckpoint) -> None:
        """
        Hold a network.

        Args:
            checkpoint: Used as it is, not copied.
        """
        self.name = f"NumPy {np.__version__}"
        self.threads = usable_cores()
        self.width = checkpoint.shape.hidden_size
        self.max_tokens = checkpoint.shape.max_position_embeddings
        self._checkpoint: BertCheckpoint | None = checkpoint

    def forward(self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]) -> Floats:
        """Run the network over one padded batch; see `Runtime.forward`."""
        if self._checkpoint is None:
            raise Internal("the network is closed")
        return _forward(self._checkpoint, token_ids, lengths)

    def close(self) -> None:
        """Let go of the tensors."""
        self._checkpoint = None


def _forward(
    checkpoint: BertCheckpoint, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]
) -> Floats:
    shape = checkpoint.shape
    real = np.arange(token_ids.shape[1]) < lengths[:, None]
    states = checkpoint.words[token_ids] + checkpoint.positions[: token_ids.shape[1]]
    states = _normalize(states, checkpoint.embedding_norm, shape.layer_norm_eps)
    for layer in checkpoint.layers:
        attended = _attend(states, real, layer, shape.num_attention_heads)
        states = _normalize(
            states + _apply(layer.attention_output, attended),
            layer.attention_norm,
            shape.layer_norm_eps,
        )
        inner = _gelu(_apply(layer.intermediate, states))
        states = _normalize(
            states + _apply(layer.output, inner), layer.output_norm, shape.layer_norm_eps
        )
    weights = real.astype(np.float32) / lengths[:, None].astype(np.float32)
    pooled: Floats = np.einsum("bt,bth->bh", weights, states)
    return pooled


def _attend(states: Floats, real: NDArray[np.bool_], layer: BertLayer, heads: int) -> Floats:
    """
    Attend from every token to the real ones.

    Args:
        states: Shape ``(batch, tokens, hidden)``.

        real: Which tokens are not padding, shape ``(batch, tokens)``.

        layer: Whose matrices to use.

        heads: Into how many heads the hidden width is split.
    """
    batch, tokens, hidden = states.shape

    def by_head(linear: Linear) -> Floats:
        split = _apply(linear, states).reshape(batch, tokens, heads, -1)
        return np.asarray(split.transpose(0, 2, 1, 3))

    query, key, value = by_head(layer.query), by_head(layer.key), by_head(layer.value)
    scores = query @ key.transpose(0, 1, 3, 2) * np.float32((hidden // heads) ** -0.5)
    scores = np.where(real[:, None, None, :], scores, np.float32(-1e9))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return np.asarray((scores @ value).transpose(0, 2, 1, 3).reshape(batch, tokens, hidden))


def _apply(linear: Linear, states: Floats) -> Floats:
    return np.asarray(states @ linear.weight.T + linear.bias)


def _normalize(states: Floats, norm: Norm, epsilon: float) -> Floats:
    centred = states - states.mean(axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.float32(epsilon)) * norm.scale + norm.shift)


def _gelu(values: Floats) -> Floats:
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
