"""
Embedding functions as values, and the hidden collection property that keeps them upstream.

Pure. The property travels with the collection through renames and restarts, so that the gateway
cannot disagree with the store about what a collection's functions are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from milvane.domain.errors import Internal
from milvane.domain.providers import ProviderFunction, VectorField, VectorKind
from milvane.messages import schema_pb2

PROPERTY_KEY = "milvane.functions"
"""The collection property that holds a `FunctionRecord`; clients neither see nor set it."""

PROVIDER = "aliyun_milvus"
"""The provider name under which this service's own models are bound."""

ON_ERROR = "on_error"
"""What becomes of a row whose image or video cannot be had: `fail`, the default, or `skip`."""

FAIL = "fail"
SKIP = "skip"

FIRST_ID = 100
"""Milvus numbers a collection's fields, and its functions, from here in schema order."""

_FORMAT = 1
_TEXT_EMBEDDING = schema_pb2.FunctionType.TextEmbedding
_BM25 = schema_pb2.FunctionType.BM25


def is_embedding(function: schema_pb2.FunctionSchema) -> bool:
    """
    Say whether a function is the gateway's to run.

    Clients let an embedding function fill dense vectors only, before they ask the server; a BM25
    function may fill a sparse field, and takes no parameters in Milvus. So one that names a
    provider can only mean an embedding function, and is one.
    """
    if function.type == _BM25:
        return any(pair.key.lower() == "provider" for pair in function.params)
    return bool(function.type == _TEXT_EMBEDDING)


@dataclass(frozen=True, slots=True)
class EmbeddingFunction:
    """What fills one vector field from one text field."""

    position: int
    """Place among all functions of the schema, from 0; BM25 functions count."""
    name: str
    description: str
    input_field: str
    output_field: str
    params: tuple[tuple[str, str], ...]
    """As the client sent them, in order."""
    model: str
    dimension: int
    """Of dense vectors; 0 for sparse ones."""
    kind: VectorKind = VectorKind.FLOAT
    type: int = _TEXT_EMBEDDING
    """The type that the client gave it, which it reads back; see `is_embedding`."""
    space: str = ""
    """
    What the weights that served the model here, when the function was bound, give vectors of; empty
    where it is not known.
    """

    @property
    def provider(self) -> str:
        """Who computes the vectors, in lower case."""
        return lowered(self.params).get("provider", "").lower()

    @property
    def instruction(self) -> str | None:
        """What searches are for, as the function says it to a model here; for queries alone."""
        return lowered(self.params).get("instruct") or None

    @property
    def skips_failures(self) -> bool:
        """Whether rows are left out whose value cannot be embedded; else they end the request."""
        return lowered(self.params).get(ON_ERROR, FAIL).lower() == SKIP

    def to_remote(self) -> ProviderFunction | None:
        """Write the function as serving knows it; none if it is not for a remote provider."""
        if self.provider == PROVIDER:
            return None
        field = VectorField(self.output_field, self.dimension, self.kind)
        return ProviderFunction(self.provider, lowered(self.params), field)

    @property
    def id(self) -> int:
        """The function's id as Milvus would number it."""
        return FIRST_ID + self.position


@dataclass(frozen=True, slots=True)
class FunctionTexts:
    """The texts of a request that one function embeds, in order."""

    function: EmbeddingFunction
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """All that the gateway keeps of a collection with embedding functions."""

    revision: int
    """Changes whenever the schema that clients see changes; their `schema_timestamp`."""
    functions: tuple[EmbeddingFunction, ...]
    description: str
    field_descriptions: tuple[tuple[str, str], ...]
    """Descriptions that the upstream may not keep, by field name."""


def lowered(params: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Read parameters with keys in lower case, as Milvus does; of two equal keys the last wins."""
    return {key.lower(): value for key, value in params}


def encode_record(record: FunctionRecord) -> str:
    """Write a record as the property's value."""
    return json.dumps(
        {
            "format": _FORMAT,
            "revision": record.revision,
            "description": record.description,
            "field_descriptions": dict(record.field_descriptions),
            "functions": [
                {
                    "position": function.position,
                    "name": function.name,
                    "description": function.description,
                    "input_field": function.input_field,
                    "output_field": function.output_field,
                    "params": [list(pair) for pair in function.params],
                    "model": function.model,
                    "dimension": function.dimension,
                    "kind": function.kind.value,
                    "type": function.type,
                    "space": function.space,
                }
                for function in record.functions
            ],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def decode_record(value: str) -> FunctionRecord:
    """
    Read a record from the property's value.

    Raises:
        Internal: If the value is not one that this version can read.
    """
    try:
        document = json.loads(value)
        if document["format"] != _FORMAT:
            raise Internal(
                f"the collection's functions were written in format {document['format']}, "
                f"which this version of Milvane cannot read: upgrade Milvane"
            )
        return FunctionRecord(
            revision=int(document["revision"]),
            description=document["description"],
            field_descriptions=tuple(document["field_descriptions"].items()),
            functions=tuple(_decode_function(entry) for entry in document["functions"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Internal(
            f"the collection property {PROPERTY_KEY!r} is damaged: {type(error).__name__}"
        ) from error


def _decode_function(entry: Mapping[str, Any]) -> EmbeddingFunction:
    return EmbeddingFunction(
        position=int(entry["position"]),
        name=entry["name"],
        description=entry["description"],
        input_field=entry["input_field"],
        output_field=entry["output_field"],
        params=tuple((str(key), str(value)) for key, value in entry["params"]),
        model=entry["model"],
        dimension=int(entry["dimension"]),
        kind=VectorKind(entry.get("kind", VectorKind.FLOAT.value)),
        type=int(entry.get("type", _TEXT_EMBEDDING)),
        space=str(entry.get("space", "")),
    )


def find_record(properties: Iterable[Any]) -> FunctionRecord | None:
    """Find a collection's record among its properties (key-value pairs)."""
    for pair in properties:
        if pair.key == PROPERTY_KEY:
            return decode_record(pair.value)
    return None


def to_message(
    function: EmbeddingFunction, field_ids: Mapping[str, int]
) -> schema_pb2.FunctionSchema:
    """Write a function as clients see it in a description, with its ids."""
    inputs, outputs = [function.input_field], [function.output_field]
    message = schema_pb2.FunctionSchema(
        id=function.id,
        name=function.name,
        description=function.description,
        type=function.type,
        input_field_names=inputs,
        output_field_names=outputs,
        # A field that is gone has no id; the function is shown all the same, to be dropped.
        input_field_ids=[field_ids[name] for name in inputs if name in field_ids],
        output_field_ids=[field_ids[name] for name in outputs if name in field_ids],
    )
    for key, value in function.params:
        message.params.add(key=key, value=value)
    return message
