"""
BERT and XLM-RoBERTa: absolute positions, normalised after each part.

XLM-RoBERTa counts positions from behind the padding token's id, so that its first two rows of
positions are never used. BGE-M3 is one, with a file of its own for the sparse head.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from milvane.domain.errors import Conflict
from milvane.inference.runtimes.checking import Shape, Tensors, head_width_of, read_shape
from milvane.inference.runtimes.network import Attention, Feedforward, Layer, Linear, Network
from milvane.inference.runtimes.stored import read_safetensors, read_torch_file

SPARSE_FILES = ("sparse_linear.safetensors", "sparse_linear.pt")
_PREFIXES = ("bert.", "roberta.", "xlm_roberta.")


class BertShape(Shape):
    """What these families say about themselves."""

    model_type: str = Field(pattern="^(bert|roberta|xlm-roberta|camembert)$")
    hidden_act: str = Field(pattern="^gelu$")
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    position_embedding_type: str = Field(default="absolute", pattern="^absolute$")
    pad_token_id: int = Field(default=1, ge=0)

    @property
    def unused_positions(self) -> int:
        """Rows of positions before that of the first token."""
        return 0 if self.model_type == "bert" else self.pad_token_id + 1


def read_bert(folder: Path) -> Network:
    """
    Read a network of this family.

    Raises:
        Conflict: If it is not one, or is damaged.
    """
    shape = read_shape(folder, BertShape)
    head_width = head_width_of(shape, folder)
    tensors = Tensors(folder, _PREFIXES)
    width = shape.hidden_size
    types = tensors.floats("embeddings.token_type_embeddings.weight", None, width)
    positions = tensors.floats(
        "embeddings.position_embeddings.weight", shape.max_position_embeddings, width
    )[shape.unused_positions :]
    return Network(
        heads=shape.num_attention_heads,
        key_heads=shape.num_attention_heads,
        head_width=head_width,
        words=tensors.matrix("embeddings.word_embeddings.weight", shape.vocab_size, width),
        positions=positions + types[0],
        constant=None,
        embedding_norm=tensors.norm("embeddings.LayerNorm", width, shape.layer_norm_eps),
        layers=tuple(_layer(tensors, shape, i) for i in range(shape.num_hidden_layers)),
        final_norm=None,
        activation="gelu",
        norms_first=False,
        causal=False,
        max_tokens=len(positions),
        token_head=read_token_head(folder, width),
    )


def _layer(tensors: Tensors, shape: BertShape, index: int) -> Layer:
    name = f"encoder.layer.{index}"
    width, inner, epsilon = shape.hidden_size, shape.intermediate_size, shape.layer_norm_eps
    query, key, value = (
        tensors.linear(f"{name}.attention.self.{part}", width, width, bias=True)
        for part in ("query", "key", "value")
    )
    return Layer(
        attention=Attention(
            query=query,
            key=key,
            value=value,
            output=tensors.linear(f"{name}.attention.output.dense", width, width, bias=True),
        ),
        attention_norm=tensors.norm(f"{name}.attention.output.LayerNorm", width, epsilon),
        feedforward=Feedforward(
            gate=None,
            up=tensors.linear(f"{name}.intermediate.dense", inner, width, bias=True),
            down=tensors.linear(f"{name}.output.dense", width, inner, bias=True),
        ),
        feedforward_norm=tensors.norm(f"{name}.output.LayerNorm", width, epsilon),
    )


def read_token_head(folder: Path, width: int) -> Linear | None:
    """
    Read the head that weighs tokens, where a folder has one.

    Raises:
        Conflict: If it is none for this width, or is damaged.
    """
    for name in SPARSE_FILES:
        path = folder / name
        if not path.is_file():
            continue
        tensors = read_torch_file(path) if path.suffix == ".pt" else read_safetensors(path)
        weight, bias = tensors.get("weight"), tensors.get("bias")
        if weight is None or bias is None or weight.shape != (1, width) or bias.shape != (1,):
            raise Conflict(f"{path} holds no sparse head for a network of width {width}")
        if not (weight.is_finite() and bias.is_finite()):
            raise Conflict(f"{path} holds numbers that are not finite")
        return Linear(weight, bias.f32())
    return None
