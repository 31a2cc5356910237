"""A BERT checkpoint as it lies on disk: its shape and its tensors, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from milvane.domain.errors import Conflict

ATTENTION = ("query", "key", "value")


class BertShape(BaseModel):
    """The part of ``config.json`` that says what the network looks like."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: str = Field(pattern="^bert$")
    hidden_act: str = Field(pattern="^gelu$")
    hidden_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    position_embedding_type: str = Field(default="absolute", pattern="^absolute$")

    @property
    def head_width(self) -> int:
        """Components of one attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix of shape ``(out, in)`` and a bias of shape ``(out,)``."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Norm:
    """Scale and shift of a layer normalisation, each of shape ``(hidden,)``."""

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BertLayer:
    """One transformer layer."""

    query: Linear
    key: Linear
    value: Linear
    attention_output: Linear
    attention_norm: Norm
    intermediate: Linear
    output: Linear
    output_norm: Norm


@dataclass(frozen=True, slots=True)
class BertCheckpoint:
    """A network's shape and its tensors, in f32."""

    shape: BertShape
    words: NDArray[np.float32]
    """Shape ``(vocabulary, hidden)``."""
    positions: NDArray[np.float32]
    """Shape ``(positions, hidden)``; the first token type's vector is added to each."""
    embedding_norm: Norm
    layers: tuple[BertLayer, ...]


def read_checkpoint(folder: Path) -> BertCheckpoint:
    """
    Read ``config.json`` and ``model.safetensors``.

    Raises:
        Conflict: If a file cannot be read, is of another family, lacks a tensor, has one of
            another shape, or holds a number that is not finite.
    """
    shape = _read_shape(folder / "config.json")
    if shape.hidden_size % shape.num_attention_heads:
        raise Conflict(f"{folder / 'config.json'}: the heads do not divide the hidden size")
    return _Reader(shape, folder / "model.safetensors").checkpoint()


def _read_shape(path: Path) -> BertShape:
    try:
        return BertShape.model_validate_json(path.read_bytes())
    except OSError as error:
        raise Conflict(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Conflict(
            f"{path} does not describe a BERT network: {where}: {first['msg']}"
        ) from error


def _read_tensors(path: Path) -> Mapping[str, NDArray[np.float32]]:
    from safetensors import SafetensorError  # only when weights are loaded
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, KeyError) as error:
        raise Conflict(
            f"{path} is not a weights file that can be read ({error}): pull the weights again"
        ) from error
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}


class _Reader:
    """Takes tensors out of a file by name, checking each."""

    def __init__(self, shape: BertShape, path: Path) -> None:
        self._shape = shape
        self._path = path
        self._tensors = _read_tensors(path)

    def checkpoint(self) -> BertCheckpoint:
        shape = self._shape
        hidden = shape.hidden_size
        types = self._tensor("embeddings.token_type_embeddings.weight", None, hidden)
        positions = self._tensor(
            "embeddings.position_embeddings.weight", shape.max_position_embeddings, hidden
        )
        return BertCheckpoint(
            shape=shape,
            words=self._tensor("embeddings.word_embeddings.weight", shape.vocab_size, hidden),
            positions=positions + types[0],
            embedding_norm=self._norm("embeddings.LayerNorm"),
            layers=tuple(self._layer(index) for index in range(shape.num_hidden_layers)),
        )

    def _layer(self, index: int) -> BertLayer:
        name = f"encoder.layer.{index}"
        hidden, inner = self._shape.hidden_size, self._shape.intermediate_size
        query, key, value = (
            self._linear(f"{name}.attention.self.{part}", hidden, hidden) for part in ATTENTION
        )
        return BertLayer(
            query=query,
            key=key,
            value=value,
            attention_output=self._linear(f"{name}.attention.output.dense", hidden, hidden),
            attention_norm=self._norm(f"{name}.attention.output.LayerNorm"),
            intermediate=self._linear(f"{name}.intermediate.dense", inner, hidden),
            output=self._linear(f"{name}.output.dense", hidden, inner),
            output_norm=self._norm(f"{name}.output.LayerNorm"),
        )

    def _linear(self, name: str, rows: int, columns: int) -> Linear:
        return Linear(
            self._tensor(f"{name}.weight", rows, columns), self._tensor(f"{name}.bias", rows)
        )

    def _norm(self, name: str) -> Norm:
        hidden = self._shape.hidden_size
        return Norm(self._tensor(f"{name}.weight", hidden), self._tensor(f"{name}.bias", hidden))

    def _tensor(self, name: str, *expected: int | None) -> NDArray[np.float32]:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise Conflict(f"{self._path} has no tensor {name}: it is of another family, or cut")
        fits = len(tensor.shape) == len(expected) and all(
            want in (None, have) for want, have in zip(expected, tensor.shape, strict=True)
        )
        if not fits:
            raise Conflict(
                f"{self._path}: {name} has shape {tensor.shape}, config.json says {expected}"
            )
        values = tensor.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise Conflict(f"{self._path}: {name} holds numbers that are not finite")
        return values
