"""What kept vectors look like as bytes, in memory and on the disk alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from milvane.domain.vectors import SparseVector
from milvane.serving.ports import FieldVectors

_TERM_BYTES = 8
"""An index and what it weighs."""

Vectors = TypeVar("Vectors")


class Form(Protocol[Vectors]):
    """How the vectors of a source are written and read, each by itself."""

    def write(self, vectors: Vectors) -> list[bytes]:
        """Write each vector."""

    def is_whole(self, content: bytes) -> bool:
        """Say whether this can be what was written of one."""

    def read(self, contents: Sequence[bytes]) -> Vectors:
        """Read what was written, one vector for each; not to be written to."""


@dataclass(frozen=True, slots=True)
class DenseForm:
    """Rows of numbers, all of one width."""

    width: int
    component: type[np.float32] | type[np.int8] = np.float32

    def write(self, vectors: FieldVectors) -> list[bytes]:
        """Write each row."""
        return [row.tobytes() for row in vectors]

    def is_whole(self, content: bytes) -> bool:
        """Say whether this has the length of a row."""
        return len(content) == self.width * np.dtype(self.component).itemsize

    def read(self, contents: Sequence[bytes]) -> FieldVectors:
        """Read rows, shape ``(contents, width)``."""
        flat: FieldVectors = np.frombuffer(b"".join(contents), self.component)  # type: ignore[assignment]
        return flat.reshape(-1, self.width)


@dataclass(frozen=True, slots=True)
class WeighedVectors:
    """Dense vectors, and the terms of the same texts."""

    dense: NDArray[np.float32]
    """Shape ``(texts, width)``."""
    terms: Sequence[SparseVector]
    """One for each row."""


@dataclass(frozen=True, slots=True)
class WeighedForm:
    """A row of numbers, then the indexes of the text's terms, then what they weigh."""

    width: int

    def write(self, vectors: WeighedVectors) -> list[bytes]:
        """Write each row with its terms."""
        return [
            row.tobytes() + terms.indexes.tobytes() + terms.values.tobytes()
            for row, terms in zip(vectors.dense, vectors.terms, strict=True)
        ]

    def is_whole(self, content: bytes) -> bool:
        """Say whether a row of this width and whole terms are here."""
        terms_bytes = len(content) - self._dense_bytes
        return terms_bytes >= 0 and terms_bytes % _TERM_BYTES == 0

    def read(self, contents: Sequence[bytes]) -> WeighedVectors:
        """Read rows with their terms."""
        dense = np.empty((len(contents), self.width), np.float32)
        terms = []
        for row, content in enumerate(contents):
            dense[row] = np.frombuffer(content, np.float32, self.width)
            count = (len(content) - self._dense_bytes) // _TERM_BYTES
            rest = np.frombuffer(content, np.uint32, offset=self._dense_bytes)
            terms.append(SparseVector(rest[:count], rest[count:].view(np.float32)))
        return WeighedVectors(dense, terms)

    @property
    def _dense_bytes(self) -> int:
        return self.width * np.dtype(np.float32).itemsize
