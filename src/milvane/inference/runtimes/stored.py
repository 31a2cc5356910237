"""
Tensors as they lie in a checkpoint's files, read only when they are needed.

Files are mapped, not copied: a network of 16 GB is described in no memory at all, and each tensor
is widened to f32 only where a runtime asks for that. The safetensors format is an 8-byte length, a
JSON header of that length, and the bytes (https://github.com/huggingface/safetensors#format); it
is read here because the library's NumPy side has no bf16.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Conflict
from milvane.inference.runtimes.torch_archive import read_archive

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ARCHIVE = "pytorch_model.bin"

MAX_HEADER_BYTES = 100_000_000
CHUNK_ROWS_BYTES = 1 << 24
"""How much of a tensor is looked at in one go."""

_KINDS = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
_NUMPY: dict[str, type[np.generic]] = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}
_BF16_EXPONENT = 0x7F80


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A tensor in the number format of its file."""

    values: NDArray[Any]
    """Its numbers; those of bf16 are their upper 16 bits, as integers."""
    kind: str
    """``f32``, ``f16`` or ``bf16``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return self.values.shape

    def f32(self) -> NDArray[np.float32]:
        """Widen to f32; a copy, unless it is that already."""
        if self.kind == "bf16":
            return (self.values.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(self.values, np.float32)

    def rows(self, start: int, stop: int) -> Stored:
        """Take some of its rows; nothing is copied."""
        return Stored(self.values[start:stop], self.kind)

    def is_finite(self) -> bool:
        """Say whether all its numbers are; takes little memory whatever its size."""
        return all(bool(_finite(part, self.kind).all()) for part in self._parts())

    def _parts(self) -> Iterator[NDArray[Any]]:
        flat = self.values.reshape(-1)
        step = CHUNK_ROWS_BYTES // flat.itemsize
        for start in range(0, len(flat), step):
            yield flat[start : start + step]


def _finite(values: NDArray[Any], kind: str) -> NDArray[np.bool_]:
    if kind == "bf16":
        return np.asarray((values & _BF16_EXPONENT) != _BF16_EXPONENT)
    return np.asarray(np.isfinite(values))


def stored(values: NDArray[np.float32]) -> Stored:
    """Hold a tensor that was computed."""
    return Stored(np.ascontiguousarray(values, np.float32), "f32")


def read_tensors(folder: Path) -> dict[str, Stored]:
    """
    Find a checkpoint's tensors, in one file or in many.

    Args:
        folder: Holds ``model.safetensors``, its shards with their index, or, where neither is
            there, PyTorch's ``pytorch_model.bin``.

    Raises:
        Conflict: If a file is missing, cut, or no weights file; the message names it.
    """
    if (folder / INDEX).is_file() and not (folder / SINGLE).is_file():
        tensors: dict[str, Stored] = {}
        for name in _shards(folder / INDEX):
            tensors |= read_safetensors(folder / name)
        return tensors
    if (folder / ARCHIVE).is_file() and not (folder / SINGLE).is_file():
        return read_torch_file(folder / ARCHIVE)
    return read_safetensors(folder / SINGLE)


def _shards(index: Path) -> list[str]:
    try:
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        if all(isinstance(name, str) and name == Path(name).name for name in shards):
            return shards
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(index, error) from error
    raise _unreadable(index, "it names files outside its folder")


def read_torch_file(path: Path) -> dict[str, Stored]:
    """
    Read a file that PyTorch wrote; no code in it is run.

    Raises:
        Conflict: If it cannot be read, or holds more than plain tensors.
    """
    try:
        arrays = read_archive(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return {name: Stored(values, kind) for name, (values, kind) in arrays.items()}


def read_safetensors(path: Path) -> dict[str, Stored]:
    """
    Map one file in the safetensors format.

    Raises:
        Conflict: If it is missing, cut, or not in that format.
    """
    try:
        return dict(_map_tensors(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error


def _map_tensors(path: Path) -> Iterator[tuple[str, Stored]]:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ValueError("it does not begin as a weights file does")
        header: Mapping[str, Any] = json.loads(stream.read(length))
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if _has_data(header) else None
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in _KINDS and data is not None:
            yield name, _view(data, entry)


def _has_data(header: Mapping[str, Any]) -> bool:
    return any(name != "__metadata__" for name in header)


def _view(data: NDArray[np.uint8], entry: Mapping[str, Any]) -> Stored:
    kind = _KINDS[entry["dtype"]]
    start, stop = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    numbers = np.dtype(_NUMPY[kind])
    if not 0 <= start <= stop <= len(data) or stop - start != numbers.itemsize * int(
        np.prod(shape, dtype=np.int64)
    ):
        raise ValueError("it is cut: a tensor lies beyond its end")
    return Stored(np.frombuffer(data[start:stop], numbers).reshape(shape), kind)


def _unreadable(path: Path, error: object) -> Conflict:
    return Conflict(
        f"{path} is not a weights file that can be read ({error}): pull the weights again"
    )
