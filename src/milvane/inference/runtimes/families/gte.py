"""
The encoders of gte-multilingual, whose files call them ``new``.

Rotary positions, a gated inner layer, norms after each part; the head that weighs tokens is stored
as a classifier of one class. Their own code is at huggingface.co/Alibaba-NLP/new-impl.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from milvane.inference.runtimes.checking import (
    Shape,
    Tensors,
    frequencies,
    head_width_of,
    read_shape,
    split_rows,
)
from milvane.inference.runtimes.network import Attention, Feedforward, Layer, Linear, Network

_PREFIXES = ("new.",)


class _Scaling(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = Field(pattern="^ntk$")
    factor: float = Field(ge=1)
    mixed_b: None = None


class GteShape(Shape):
    """What the family says about itself."""

    model_type: str = Field(pattern="^new$")
    hidden_act: str = Field(pattern="^gelu$")
    layer_norm_type: str = Field(default="layer_norm", pattern="^layer_norm$")
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    position_embedding_type: str = Field(pattern="^rope$")
    rope_theta: float = Field(gt=0)
    rope_scaling: _Scaling | None = None
    type_vocab_size: int = Field(default=0, ge=0)
    pack_qkv: bool = True
    logn_attention_scale: bool = False

    def rotary(self, head_width: int) -> NDArray[np.float32]:
        """Stretch the frequencies for long texts, as equation 6 of kexue.fm/archives/9706 does."""
        if self.rope_scaling is None:
            return frequencies(head_width, self.rope_theta)
        factor = self.rope_scaling.factor
        stretched = frequencies(head_width, self.rope_theta * factor)
        return np.asarray(stretched / factor ** (2 / head_width), np.float32)


def read_gte(folder: Path) -> Network:
    """
    Read a network of this family.

    Raises:
        Conflict: If it is not one, or is damaged.
    """
    shape = read_shape(folder, GteShape)
    head_width = head_width_of(shape, folder)
    tensors = Tensors(folder, _PREFIXES)
    width = shape.hidden_size
    rotary = shape.rotary(head_width)
    types = "embeddings.token_type_embeddings.weight"
    return Network(
        heads=shape.num_attention_heads,
        key_heads=shape.num_attention_heads,
        head_width=head_width,
        words=tensors.matrix("embeddings.word_embeddings.weight", shape.vocab_size, width),
        positions=None,
        constant=tensors.floats(types, None, width)[0] if shape.type_vocab_size else None,
        embedding_norm=tensors.norm("embeddings.LayerNorm", width, shape.layer_norm_eps),
        layers=tuple(_layer(tensors, shape, i, rotary) for i in range(shape.num_hidden_layers)),
        final_norm=None,
        activation="gelu",
        norms_first=False,
        causal=False,
        max_tokens=shape.max_position_embeddings,
        token_head=_token_head(tensors, width),
    )


def _layer(tensors: Tensors, shape: GteShape, index: int, rotary: NDArray[np.float32]) -> Layer:
    name = f"encoder.layer.{index}"
    width, inner, epsilon = shape.hidden_size, shape.intermediate_size, shape.layer_norm_eps
    if shape.pack_qkv:
        packed = tensors.linear(f"{name}.attention.qkv_proj", 3 * width, width, bias=True)
        query, key, value = split_rows(packed, width, width, width)
    else:
        query, key, value = (
            tensors.linear(f"{name}.attention.{part}_proj", width, width, bias=True)
            for part in "qkv"
        )
    up, gate = split_rows(
        tensors.linear(f"{name}.mlp.up_gate_proj", 2 * inner, width), inner, inner
    )
    return Layer(
        attention=Attention(
            query=query,
            key=key,
            value=value,
            output=tensors.linear(f"{name}.attention.o_proj", width, width, bias=True),
            frequencies=rotary,
        ),
        attention_norm=tensors.norm(f"{name}.attn_ln", width, epsilon),
        feedforward=Feedforward(
            gate=gate, up=up, down=tensors.linear(f"{name}.mlp.down_proj", width, inner)
        ),
        feedforward_norm=tensors.norm(f"{name}.mlp_ln", width, epsilon),
    )


def _token_head(tensors: Tensors, width: int) -> Linear | None:
    return tensors.linear("classifier", 1, width) if "classifier.weight" in tensors else None
