"""
Files that ``torch.save`` wrote, without PyTorch, and without running what is in them.

Such a file is a ZIP archive: ``*/data.pkl`` says how tensors are made of the storages in
``*/data/``. A pickle can name any function; this reader knows four harmless names and refuses every
other (https://docs.pytorch.org/docs/stable/notes/serialization.html).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STORAGES = {"FloatStorage": "f32", "HalfStorage": "f16", "BFloat16Storage": "bf16"}
_NUMPY: dict[str, type[np.generic]] = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}
MAX_PICKLE_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class _StorageKind:
    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    values: NDArray[Any] | None
    """None for numbers of a kind that no network here has, such as integers."""
    kind: str


def read_archive(path: Path) -> dict[str, tuple[NDArray[Any], str]]:
    """
    Read the tensors of a file.

    Returns:
        By name, the numbers (those of bf16 as 16-bit integers) and ``f32``, ``f16`` or ``bf16``.

    Raises:
        ValueError: If it is cut, older than PyTorch 1.6, or holds more than plain tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = _Unpickler(archive).load()
    except (zipfile.BadZipFile, pickle.UnpicklingError, KeyError, EOFError, TypeError) as error:
        raise ValueError(f"no plain PyTorch file: {error}") from error
    if not isinstance(found, Mapping):
        raise ValueError("it holds no named tensors")  # noqa: TRY004 - what the file is, not a type
    return {name: each for name, each in found.items() if isinstance(each, tuple)}


class _Unpickler(pickle.Unpickler):
    """Knows how to put tensors together, and nothing else."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1 or archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
            raise ValueError("it has no list of tensors")
        super().__init__(io.BytesIO(archive.read(pickles[0])))
        self._archive = archive
        self._top = pickles[0].removesuffix("data.pkl")
        self._read: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name.endswith("Storage"):
            return _StorageKind(name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not run here")

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, numbers = pid
        if key not in self._read:
            self._read[key] = self._storage(kind.name, str(key), int(numbers))
        return self._read[key]

    def _storage(self, storage: str, key: str, numbers: int) -> _Storage:
        kind = _STORAGES.get(storage)
        if kind is None:
            return _Storage(None, "")
        values = np.frombuffer(self._archive.read(f"{self._top}data/{key}"), _NUMPY[kind])
        if len(values) < numbers:
            raise ValueError("a tensor is cut")
        return _Storage(values, kind)


def _rebuild(
    storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any
) -> tuple[NDArray[Any], str] | None:
    if storage.values is None:
        return None
    values = storage.values
    reach = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) + 1
    if offset < 0 or any(step < 0 for step in strides) or reach > len(values):
        raise ValueError("a tensor lies beyond its storage")
    steps = [step * values.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps), storage.kind


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor
