"""Taking what a family expects out of a checkpoint, and saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from milvane.domain.errors import Conflict
from milvane.inference.runtimes.network import Linear, Norm
from milvane.inference.runtimes.stored import Stored, read_tensors

_ShapeT = TypeVar("_ShapeT", bound="Shape")


class Shape(BaseModel):
    """What every family's ``config.json`` says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: str
    hidden_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    vocab_size: int = Field(ge=1)


def read_shape(folder: Path, family: type[_ShapeT]) -> _ShapeT:
    """
    Read ``config.json`` as a family's.

    Raises:
        Conflict: If it cannot be read, or does not describe a network of the family.
    """
    path = folder / "config.json"
    try:
        shape = family.model_validate_json(path.read_bytes())
    except OSError as error:
        raise Conflict(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Conflict(
            f"{path} does not describe a network that runs here: {where}: {first['msg']}"
        ) from error
    return shape


def head_width_of(shape: Shape, folder: Path) -> int:
    """
    Divide a network's width by its heads.

    Raises:
        Conflict: If that leaves a rest.
    """
    if shape.hidden_size % shape.num_attention_heads:
        raise Conflict(f"{folder / 'config.json'}: the heads do not divide the hidden size")
    return shape.hidden_size // shape.num_attention_heads


def frequencies(head_width: int, base: float) -> NDArray[np.float32]:
    """
    Give the frequencies of rotary positions (Su et al., RoFormer, 2021, section 3.2.2).

    Returns:
        Shape ``(head_width / 2,)``.
    """
    exponents = np.arange(0, head_width, 2, dtype=np.float64) / head_width
    return np.asarray(1.0 / base**exponents, np.float32)


class Tensors:
    """The tensors of a checkpoint, taken out by name, each checked."""

    def __init__(self, folder: Path, prefixes: Sequence[str]) -> None:
        """
        Find them.

        Args:
            folder: The checkpoint's.

            prefixes: What names may begin with, depending on how the checkpoint was saved.
        """
        self._folder = folder
        self._tensors: Mapping[str, Stored] = {
            _without(name, prefixes): tensor for name, tensor in read_tensors(folder).items()
        }

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def matrix(self, name: str, *expected: int | None) -> Stored:
        """
        Take a tensor of the sizes expected; any where none is said.

        Raises:
            Conflict: If it is missing, of other sizes, or holds a number that is not finite.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            raise Conflict(f"{self._folder} has no tensor {name}: it is of another family, or cut")
        fits = len(tensor.shape) == len(expected) and all(
            want in (None, have) for want, have in zip(expected, tensor.shape, strict=True)
        )
        if not fits:
            raise Conflict(
                f"{self._folder}: {name} has shape {tensor.shape}, config.json says {expected}"
            )
        if not tensor.is_finite():
            raise Conflict(f"{self._folder}: {name} holds numbers that are not finite")
        return tensor

    def floats(self, name: str, *expected: int | None) -> NDArray[np.float32]:
        """Take a small tensor as f32; see `matrix`."""
        return self.matrix(name, *expected).f32()

    def linear(self, name: str, rows: int, columns: int, *, bias: bool | None = None) -> Linear:
        """
        Take a matrix and its bias.

        Args:
            name: Without ``.weight``.

            rows: Width of what comes out.

            columns: Width of what goes in.

            bias: Whether there must be one; if not said, it is taken if it is there.
        """
        has_bias = f"{name}.bias" in self if bias is None else bias
        return Linear(
            self.matrix(f"{name}.weight", rows, columns),
            self.floats(f"{name}.bias", rows) if has_bias else None,
        )

    def norm(
        self, name: str, width: int, epsilon: float, *, centres: bool = True, shift: bool = True
    ) -> Norm:
        """Take the scale of a normalisation, and its shift where it has one."""
        return Norm(
            self.floats(f"{name}.weight", width),
            self.floats(f"{name}.bias", width) if shift else None,
            centres,
            epsilon,
        )


def _without(name: str, prefixes: Sequence[str]) -> str:
    for prefix in prefixes:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def split_rows(linear: Linear, *sizes: int) -> tuple[Linear, ...]:
    """Take apart matrices that a family keeps stacked in one."""
    parts, start = [], 0
    for size in sizes:
        bias = None if linear.bias is None else linear.bias[start : start + size]
        parts.append(Linear(linear.weight.rows(start, start + size), bias))
        start += size
    return tuple(parts)
