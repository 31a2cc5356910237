"""Remote providers of vectors, as embedding functions name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class VectorKind(Enum):
    """What the components of a field's vectors are; the values are Milvus's own names."""

    FLOAT = "FloatVector"
    INT8 = "Int8Vector"
    SPARSE = "SparseFloatVector"


@dataclass(frozen=True, slots=True)
class VectorField:
    """The field that a function fills."""

    name: str
    dimension: int
    kind: VectorKind = VectorKind.FLOAT


@dataclass(slots=True)
class Spending:
    """What providers say that a call has used; added to while it runs."""

    tokens: int = 0
    """Of those that say so: others count nothing."""


@dataclass(frozen=True, slots=True)
class ProviderFunction:
    """An embedding function whose vectors a remote provider computes."""

    provider: str
    """In lower case."""
    params: Mapping[str, str]
    """As the client gave them, with keys in lower case."""
    output: VectorField
