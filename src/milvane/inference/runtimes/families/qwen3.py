"""
Qwen3-Embedding: a decoder, whose last token's state is the text's vector.

Causal; several query heads share a key; each head is normalised before positions are rotated in
(Qwen Team, Qwen3 Technical Report, 2025, section 2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from milvane.domain.errors import Conflict
from milvane.inference.runtimes.checking import Shape, Tensors, frequencies, read_shape
from milvane.inference.runtimes.network import Attention, Feedforward, Layer, Network

_PREFIXES = ("model.",)


class Qwen3Shape(Shape):
    """What the family says about itself."""

    model_type: str = Field(pattern="^qwen3$")
    hidden_act: str = Field(pattern="^silu$")
    num_key_value_heads: int = Field(ge=1)
    head_dim: int = Field(default=128, ge=2)
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    rope_theta: float = Field(default=1_000_000.0, gt=0)
    rope_scaling: None = None
    use_sliding_window: bool = False

    @model_validator(mode="before")
    @classmethod
    def _newer_names(cls, given: Any) -> Any:
        """Take the names that transformers 5 writes for the same things."""
        if not isinstance(given, dict):
            return given
        rotary = given.get("rope_parameters") or {}
        if rotary.get("rope_type", "default") != "default":
            raise ValueError("rope_parameters: only plain rotary positions run here")
        return given | ({"rope_theta": rotary["rope_theta"]} if "rope_theta" in rotary else {})


def read_qwen3(folder: Path) -> Network:
    """
    Read a network of this family.

    Raises:
        Conflict: If it is not one, or is damaged.
    """
    shape = read_shape(folder, Qwen3Shape)
    path = folder / "config.json"
    if shape.num_attention_heads % shape.num_key_value_heads:
        raise Conflict(f"{path}: the key heads do not divide the heads")
    if shape.use_sliding_window:
        raise Conflict(f"{path}: use_sliding_window is not run here")
    tensors = Tensors(folder, _PREFIXES)
    width, epsilon = shape.hidden_size, shape.rms_norm_eps
    return Network(
        heads=shape.num_attention_heads,
        key_heads=shape.num_key_value_heads,
        head_width=shape.head_dim,
        words=tensors.matrix("embed_tokens.weight", shape.vocab_size, width),
        positions=None,
        constant=None,
        embedding_norm=None,
        layers=tuple(_layer(tensors, shape, i) for i in range(shape.num_hidden_layers)),
        final_norm=tensors.norm("norm", width, epsilon, centres=False, shift=False),
        activation="silu",
        norms_first=True,
        causal=True,
        max_tokens=shape.max_position_embeddings,
    )


def _layer(tensors: Tensors, shape: Qwen3Shape, index: int) -> Layer:
    name = f"layers.{index}"
    width, inner, head = shape.hidden_size, shape.intermediate_size, shape.head_dim
    queries, keys = shape.num_attention_heads * head, shape.num_key_value_heads * head

    def norm(part: str, size: int) -> Any:
        return tensors.norm(f"{name}.{part}", size, shape.rms_norm_eps, centres=False, shift=False)

    return Layer(
        attention=Attention(
            query=tensors.linear(f"{name}.self_attn.q_proj", queries, width),
            key=tensors.linear(f"{name}.self_attn.k_proj", keys, width),
            value=tensors.linear(f"{name}.self_attn.v_proj", keys, width),
            output=tensors.linear(f"{name}.self_attn.o_proj", width, queries),
            query_norm=norm("self_attn.q_norm", head),
            key_norm=norm("self_attn.k_norm", head),
            frequencies=frequencies(head, shape.rope_theta),
        ),
        attention_norm=norm("input_layernorm", width),
        feedforward=Feedforward(
            gate=tensors.linear(f"{name}.mlp.gate_proj", inner, width),
            up=tensors.linear(f"{name}.mlp.up_proj", inner, width),
            down=tensors.linear(f"{name}.mlp.down_proj", width, inner),
        ),
        feedforward_norm=norm("post_attention_layernorm", width),
    )
