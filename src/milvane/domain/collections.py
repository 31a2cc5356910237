"""Collections as an operator looks at them: which fields there are, and what fills them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Filling:
    """What fills a field in the client's place."""

    function: str
    """Its name in the schema."""
    kind: str
    """What it does, as Milvus calls it."""
    inputs: Sequence[str]
    """Fields that it reads."""
    provider: str = ""
    """Who computes; empty where no model does."""
    model: str = ""
    """Empty where no model computes, as for BM25."""


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """A field of a collection."""

    name: str
    type: str
    """As Milvus calls it."""
    is_primary: bool
    dimension: int | None = None
    """Of a dense vector field."""
    filled_by: Filling | None = None
    """None where clients fill it."""


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """A collection of an instance."""

    name: str
    description: str = ""
    rows: int | None = None
    """None if the upstream does not tell."""
    is_loaded: bool | None = None
    fields: Sequence[FieldFacts] = ()
    problem: str = ""
    """Why nothing more is known of it; empty if it is."""


@dataclass(frozen=True, slots=True)
class CollectionQuery:
    """Which collections are looked for."""

    database: str = ""
    """The default one if empty."""
    contains: str = ""
    """Part of the name, whatever the case of its letters; any if empty."""
    offset: int = 0
    limit: int = 200


@dataclass(frozen=True, slots=True)
class CollectionPage:
    """Some collections of a database, in the order of their names."""

    databases: Sequence[str]
    collections: Sequence[CollectionFacts]
    total: int
    """How many there are with them, of those that are looked for."""


@dataclass(frozen=True, slots=True)
class TextSearch:
    """A question to a collection."""

    collection: str
    text: str
    field: str
    """Which vectors to compare with."""
    database: str = ""
    """The default one if empty."""
    filter: str = ""
    limit: int = 10


@dataclass(frozen=True, slots=True)
class TextHit:
    """A row that was found."""

    score: float
    values: Mapping[str, Any]
    """By field, without vectors; ready to be written as JSON."""
