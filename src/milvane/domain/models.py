"""
Models: what a caller may ask for, whatever weights serve it.

A `Model` is a contract. It never changes when other weights are put behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType

ModelName = NewType("ModelName", str)


class Purpose(Enum):
    """Why a content is embedded: models that distinguish the two embed them differently."""

    DOCUMENT = "document"
    QUERY = "query"


class Lane(Enum):
    """Who waits for a result: a person (interactive), or a bulk load that others may overtake."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Modality(Enum):
    """A kind of content that a model accepts."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class DimensionRange:
    """Every dimension from `smallest` to `largest`, both included."""

    smallest: int
    largest: int

    def __contains__(self, dimension: int) -> bool:
        return self.smallest <= dimension <= self.largest

    def __str__(self) -> str:
        return f"{self.smallest} to {self.largest}"


@dataclass(frozen=True, slots=True)
class DimensionList:
    """A few dimensions, and none between them."""

    values: tuple[int, ...]

    def __contains__(self, dimension: int) -> bool:
        return dimension in self.values

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


@dataclass(frozen=True, slots=True)
class Model:
    """The contract of one model."""

    name: ModelName
    description: str
    dimensions: DimensionRange | DimensionList
    default_dimension: int
    max_input_tokens: int
    """Tokens of one input above which it is refused (or cut, where the operator allows it)."""
    modalities: frozenset[Modality] = frozenset({Modality.TEXT})

    def __post_init__(self) -> None:
        if self.default_dimension not in self.dimensions:
            raise ValueError(f"{self.name}: default dimension is not among the offered ones")
