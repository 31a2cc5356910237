"""
ModernBERT: rotary positions, a gated inner layer, norms before each part, no first norm.

Every third layer sees the whole text; the others see a window around each token, and rotate
positions by other frequencies (Warner et al., Smarter, Better, Faster, Longer, 2024).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from milvane.inference.runtimes.checking import (
    Shape,
    Tensors,
    frequencies,
    head_width_of,
    read_shape,
    split_rows,
)
from milvane.inference.runtimes.network import Attention, Feedforward, Layer, Network

_PREFIXES = ("model.",)
_LOCAL = "sliding_attention"
_GLOBAL = "full_attention"


class ModernbertShape(Shape):
    """What the family says about itself."""

    model_type: str = Field(pattern="^modernbert$")
    hidden_activation: str = Field(default="gelu", pattern="^gelu$")
    norm_eps: float = Field(default=1e-5, gt=0)
    norm_bias: bool = False
    local_attention: int = Field(default=128, ge=2)
    global_attn_every_n_layers: int = Field(default=3, ge=1)
    global_rope_theta: float = Field(default=160_000.0, gt=0)
    local_rope_theta: float = Field(default=10_000.0, gt=0)
    layer_types: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _newer_names(cls, given: Any) -> Any:
        """Take the names that transformers 5 writes for the same things."""
        if not isinstance(given, dict):
            return given
        found = dict(given)
        rotary = found.get("rope_parameters") or {}
        for layer_type, key in ((_GLOBAL, "global_rope_theta"), (_LOCAL, "local_rope_theta")):
            if layer_type in rotary:
                if rotary[layer_type].get("rope_type", "default") != "default":
                    raise ValueError("rope_parameters: only plain rotary positions run here")
                found[key] = rotary[layer_type]["rope_theta"]
        return {key: value for key, value in found.items() if value is not None}

    def is_local(self, index: int) -> bool:
        """Say whether a layer sees only a window around each token."""
        if self.layer_types is not None:
            return self.layer_types[index] == _LOCAL
        return index % self.global_attn_every_n_layers != 0


def read_modernbert(folder: Path) -> Network:
    """
    Read a network of this family.

    Raises:
        Conflict: If it is not one, or is damaged.
    """
    shape = read_shape(folder, ModernbertShape)
    head_width = head_width_of(shape, folder)
    tensors = Tensors(folder, _PREFIXES)
    width, epsilon, shift = shape.hidden_size, shape.norm_eps, shape.norm_bias
    return Network(
        heads=shape.num_attention_heads,
        key_heads=shape.num_attention_heads,
        head_width=head_width,
        words=tensors.matrix("embeddings.tok_embeddings.weight", shape.vocab_size, width),
        positions=None,
        constant=None,
        embedding_norm=tensors.norm("embeddings.norm", width, epsilon, shift=shift),
        layers=tuple(_layer(tensors, shape, i, head_width) for i in range(shape.num_hidden_layers)),
        final_norm=tensors.norm("final_norm", width, epsilon, shift=shift),
        activation="gelu",
        norms_first=True,
        causal=False,
        max_tokens=shape.max_position_embeddings,
    )


def _layer(tensors: Tensors, shape: ModernbertShape, index: int, head_width: int) -> Layer:
    name = f"layers.{index}"
    width, inner = shape.hidden_size, shape.intermediate_size
    epsilon, shift = shape.norm_eps, shape.norm_bias
    is_local = shape.is_local(index)
    packed = tensors.linear(f"{name}.attn.Wqkv", 3 * width, width)
    query, key, value = split_rows(packed, width, width, width)
    # What is called the input is activated; what is called the gate is not.
    gate, up = split_rows(tensors.linear(f"{name}.mlp.Wi", 2 * inner, width), inner, inner)
    attention_norm = None
    if index > 0:
        attention_norm = tensors.norm(f"{name}.attn_norm", width, epsilon, shift=shift)
    base = shape.local_rope_theta if is_local else shape.global_rope_theta
    return Layer(
        attention=Attention(
            query=query,
            key=key,
            value=value,
            output=tensors.linear(f"{name}.attn.Wo", width, width),
            frequencies=frequencies(head_width, base),
            reach=shape.local_attention // 2 if is_local else None,
        ),
        attention_norm=attention_norm,
        feedforward=Feedforward(
            gate=gate, up=up, down=tensors.linear(f"{name}.mlp.Wo", width, inner)
        ),
        feedforward_norm=tensors.norm(f"{name}.mlp_norm", width, epsilon, shift=shift),
    )
