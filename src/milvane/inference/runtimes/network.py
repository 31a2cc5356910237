"""
A transformer encoder as a value: its tensors and what is done with them, whatever its family.

Families differ in where the norms stand, what tells positions, how wide attention reaches, and
whether the inner layer has a gate. All of that is said here, so that each runtime is written once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milvane.inference.runtimes.stored import Stored


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix of shape ``(out, in)`` and, in most families, a bias of shape ``(out,)``."""

    weight: Stored
    bias: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Norm:
    """
    Scale of a normalisation, and its shift where it has one, each of shape ``(width,)``.

    A layer normalisation centres first; a root-mean-square normalisation does not.
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32] | None
    centres: bool
    epsilon: float


@dataclass(frozen=True, slots=True)
class Attention:
    """How tokens look at each other in one layer."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    query_norm: Norm | None = None
    """Over each head's components, before positions are rotated in."""
    key_norm: Norm | None = None
    frequencies: NDArray[np.float32] | None = None
    """Of rotary positions, shape ``(head_width / 2,)``; none where positions are added once."""
    reach: int | None = None
    """How many tokens a token sees to each side; all if none."""


@dataclass(frozen=True, slots=True)
class Feedforward:
    """The inner layer: ``down(act(gate(x)) * up(x))``, or ``down(act(up(x)))`` without a gate."""

    gate: Linear | None
    up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer."""

    attention: Attention
    attention_norm: Norm | None
    feedforward: Feedforward
    feedforward_norm: Norm


@dataclass(frozen=True, slots=True)
class Network:
    """Everything between token ids and token states."""

    heads: int
    key_heads: int
    """Fewer than `heads` where several queries share a key."""
    head_width: int
    words: Stored
    """Shape ``(vocabulary, width)``."""
    positions: NDArray[np.float32] | None
    """Added to the words, shape ``(max_tokens, width)``; none where they are rotated in."""
    constant: NDArray[np.float32] | None
    """Added to every word, shape ``(width,)``: the vector of the only token type."""
    embedding_norm: Norm | None
    layers: tuple[Layer, ...]
    final_norm: Norm | None
    activation: str
    """``gelu`` or ``silu``."""
    norms_first: bool
    """Normalise what enters a part, instead of the sum that leaves it."""
    causal: bool
    """A token sees only those before it."""
    max_tokens: int
    token_head: Linear | None = None
    """Weighs each token as a term, shape ``(1, width)``; of families with a learned sparse head."""

    @property
    def width(self) -> int:
        """Components of a token's state."""
        return self.words.shape[1]

    @property
    def parameters(self) -> int:
        """Numbers in its layers; words are looked up, not multiplied."""
        return sum(_numbers(layer) for layer in self.layers)


def _numbers(layer: Layer) -> int:
    attention, inner = layer.attention, layer.feedforward
    parts = [
        attention.query, attention.key, attention.value, attention.output, inner.up, inner.down,
    ]  # fmt: skip
    if inner.gate is not None:
        parts.append(inner.gate)
    return sum(int(np.prod(part.weight.shape)) for part in parts)


@dataclass(frozen=True, slots=True)
class Projection:
    """A layer over the pooled vector, as sentence-transformers calls `Dense`."""

    linear: Linear
    activation: str
    """``identity`` or ``tanh``."""


@dataclass(frozen=True, slots=True)
class Head:
    """What becomes of token states: one vector."""

    pooling: str
    """``mean``, ``cls``, ``last`` or ``max``."""
    projections: tuple[Projection, ...] = ()

    def width_after(self, width: int) -> int:
        """Say how wide the vector is, given the states' width."""
        return self.projections[-1].linear.weight.shape[0] if self.projections else width
