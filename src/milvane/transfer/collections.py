"""Collections as values: all that has to be made at the other side. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from milvane.domain.errors import InvalidInput
from milvane.domain.providers import VectorKind
from milvane.gateway.translate.functions import PROPERTY_KEY as RECORD_KEY
from milvane.gateway.translate.functions import EmbeddingFunction, is_embedding
from milvane.gateway.translate.rows import ALLOW_OUTPUTS_KEY
from milvane.gateway.translate.schemas import (
    field_dimension,
    restore_functions,
    strip_functions,
)
from milvane.instances.lite.journal import CollectionKey
from milvane.messages import milvus_pb2, schema_pb2

DEFAULT_PARTITION = "_default"
DYNAMIC_FIELD = "$meta"
ALLOW_IDS_KEY = "allow_insert_auto_id"
"""The property that lets a client bring the keys of a collection that makes its own."""

_OWN_PROPERTIES = frozenset({"max_field_id", RECORD_KEY})
"""What servers write themselves."""
_FIRST_USER_FIELD_ID = 100
_BM25 = schema_pb2.FunctionType.BM25
_FORMAT = 1
_GENERAL_INDEX_PARAMS = frozenset(
    {"index_type", "metric_type", "params", "search_params", "mmap.enabled"}
)
_UNKNOWN_VALUE_BYTES = 256
_VECTOR_BYTES = {
    schema_pb2.DataType.FloatVector: 4.0,
    schema_pb2.DataType.Float16Vector: 2.0,
    schema_pb2.DataType.BFloat16Vector: 2.0,
    schema_pb2.DataType.Int8Vector: 1.0,
    schema_pb2.DataType.BinaryVector: 1 / 8,
}


@dataclass(frozen=True, slots=True)
class Index:
    """An index of one field."""

    name: str
    field: str
    params: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection without its rows."""

    key: CollectionKey
    schema: schema_pb2.CollectionSchema
    """As a client would send it to make the collection."""
    has_hidden_functions: bool
    """Its embedding functions are run by Milvane; a Milvus by itself knows nothing of them."""
    properties: tuple[tuple[str, str], ...]
    consistency_level: int
    shards: int
    partition_buckets: int
    """Of a collection with a partition key; else 0."""
    partitions: tuple[str, ...]
    """Those that clients name."""
    indexes: tuple[Index, ...]
    aliases: tuple[str, ...]
    is_loaded: bool

    @property
    def primary(self) -> schema_pb2.FieldSchema:
        """The field of the primary key."""
        return next(field for field in self.schema.fields if field.is_primary_key)

    @property
    def makes_keys(self) -> bool:
        """Say whether keys are made by the server."""
        return bool(self.primary.autoID or self.schema.autoID)

    @property
    def readable_fields(self) -> list[str]:
        """Name the fields whose values travel: all but what BM25 makes of texts by itself."""
        made = {
            name
            for function in self.schema.functions
            if function.type == _BM25 and not is_embedding(function)
            for name in function.output_field_names
        }
        names = [field.name for field in self.schema.fields if field.name not in made]
        names += [field.name for field in self.schema.struct_array_fields]
        return [*names, DYNAMIC_FIELD] if self.schema.enable_dynamic_field else names

    @property
    def embedding_functions(self) -> list[schema_pb2.FunctionSchema]:
        """List the functions that make vectors of texts, BM25 aside."""
        return [each for each in self.schema.functions if is_embedding(each)]

    def rows_within(self, max_bytes: int, max_rows: int = 2_000) -> int:
        """Estimate how many rows fit into a message, from 1."""
        row_bytes = _UNKNOWN_VALUE_BYTES * len(self.schema.fields) + sum(
            _VECTOR_BYTES.get(field.data_type, 0) * field_dimension(field)
            for field in self.schema.fields
        )
        return max(1, min(max_rows, int(max_bytes / row_bytes)))


def read_description(
    key: CollectionKey,
    response: milvus_pb2.DescribeCollectionResponse,
    *,
    is_milvane: bool,
    partitions: tuple[str, ...],
    indexes: tuple[Index, ...],
    aliases: tuple[str, ...],
    is_loaded: bool,
) -> Collection:
    """
    Read a collection from its description.

    Args:
        key: Where it is.

        response: What the endpoint says; functions that are hidden in a property are restored.

        is_milvane: Whether Milvane answered, which hides that property.

        partitions: All of them.

        indexes: All of them.

        aliases: All of them.

        is_loaded: Whether it can be searched.
    """
    record = restore_functions(response)
    schema = _as_sent(response.schema, key.name)
    has_partition_key = any(field.is_partition_key for field in schema.fields)
    functions = [each for each in schema.functions if is_embedding(each)]
    return Collection(
        key=key,
        schema=schema,
        has_hidden_functions=bool(functions) and (is_milvane or record is not None),
        properties=tuple(
            (pair.key, pair.value)
            for pair in response.properties
            if pair.key not in _OWN_PROPERTIES
        ),
        consistency_level=response.consistency_level,
        shards=response.shards_num,
        partition_buckets=response.num_partitions if has_partition_key else 0,
        partitions=(DEFAULT_PARTITION,) if has_partition_key else partitions,
        indexes=indexes,
        aliases=aliases,
        is_loaded=is_loaded,
    )


def _as_sent(described: schema_pb2.CollectionSchema, name: str) -> schema_pb2.CollectionSchema:
    schema = schema_pb2.CollectionSchema()
    schema.CopyFrom(described)
    schema.name = name
    kept = [
        field
        for field in described.fields
        if not field.is_dynamic and (not field.fieldID or field.fieldID >= _FIRST_USER_FIELD_ID)
    ]
    del schema.fields[:]
    schema.fields.extend(kept)
    for field in schema.fields:
        field.fieldID = 0
        field.is_function_output = False  # whoever runs the function says so itself
    for function in schema.functions:
        function.id = 0
        del function.input_field_ids[:], function.output_field_ids[:]
    return schema


def creation_of(
    collection: Collection, *, is_milvane: bool, revision: int
) -> milvus_pb2.CreateCollectionRequest:
    """
    Write the request that makes a collection, open for vectors and keys that are brought along.

    Args:
        collection: What to make.

        is_milvane: Whether Milvane gets the request; else functions that only Milvane runs become
            the property that it will find, once it stands in front.

        revision: The schema revision of such a property.
    """
    request = milvus_pb2.CreateCollectionRequest(
        collection_name=collection.key.name,
        schema=collection.schema.SerializeToString(),
        shards_num=collection.shards,
        consistency_level=collection.consistency_level,
        num_partitions=collection.partition_buckets,
    )
    for key, value in dict([*collection.properties, *opening_properties(collection)]).items():
        request.properties.add(key=key, value=value)
    if not collection.has_hidden_functions or is_milvane:
        return request
    functions = tuple(
        _hidden(position, function, collection.schema)
        for position, function in enumerate(collection.schema.functions)
        if is_embedding(function)
    )
    return strip_functions(request, collection.schema, functions, revision=revision)


def opening_properties(collection: Collection) -> list[tuple[str, str]]:
    """List the properties that a collection has only while rows are copied into it."""
    opening = [(ALLOW_OUTPUTS_KEY, "true")] if collection.embedding_functions else []
    return [*opening, (ALLOW_IDS_KEY, "true")] if collection.makes_keys else opening


def closings_of(collection: Collection) -> list[milvus_pb2.AlterCollectionRequest]:
    """Write the requests that give those properties back what they are at the source."""
    wanted = dict(collection.properties)
    requests = []
    for key, opened in opening_properties(collection):
        request = milvus_pb2.AlterCollectionRequest(collection_name=collection.key.name)
        if key not in wanted:
            request.delete_keys.append(key)
        elif wanted[key] != opened:
            request.properties.add(key=key, value=wanted[key])
        else:
            continue
        requests.append(request)  # Milvus takes values or keys to delete, not both in one
    return requests


def _hidden(
    position: int, function: schema_pb2.FunctionSchema, schema: schema_pb2.CollectionSchema
) -> EmbeddingFunction:
    output = next(each for each in schema.fields if each.name == function.output_field_names[0])
    params = tuple((pair.key, pair.value) for pair in function.params)
    named = {key.lower(): value for key, value in params}
    return EmbeddingFunction(
        position=position,
        name=function.name,
        description=function.description,
        input_field=function.input_field_names[0],
        output_field=output.name,
        params=params,
        model=named.get("model_name", ""),
        dimension=field_dimension(output),
        kind=VectorKind(schema_pb2.DataType.Name(output.data_type)),
        type=function.type,
    )


def buildable_params(index: Index) -> list[tuple[str, str]]:
    """
    Write an index's parameters as every server takes them: those of its type in one JSON value.

    Milvus describes them one by one, and takes both; Milvus Lite overlooks them one by one.
    """
    general = [pair for pair in index.params if pair[0] in _GENERAL_INDEX_PARAMS]
    own = {key: _number(value) for key, value in index.params if key not in _GENERAL_INDEX_PARAMS}
    if not own or any(key == "params" for key, _ in general):
        return list(index.params)
    return [*general, ("params", json.dumps(own))]


def plain_params(index: Index) -> list[tuple[str, str]]:
    """Leave the choice of the index to the server; only the metric stays."""
    metric = [pair for pair in index.params if pair[0] == "metric_type"]
    return [("index_type", "AUTOINDEX"), *metric]


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def to_document(collection: Collection) -> dict[str, Any]:
    """Write a collection as JSON."""
    return {
        "format": _FORMAT,
        "database": collection.key.database,
        "name": collection.key.name,
        "schema": json_format.MessageToDict(collection.schema, preserving_proto_field_name=True),
        "has_hidden_functions": collection.has_hidden_functions,
        "properties": dict(collection.properties),
        "consistency_level": collection.consistency_level,
        "shards": collection.shards,
        "partition_buckets": collection.partition_buckets,
        "partitions": list(collection.partitions),
        "indexes": [
            {"name": each.name, "field": each.field, "params": dict(each.params)}
            for each in collection.indexes
        ],
        "aliases": list(collection.aliases),
        "is_loaded": collection.is_loaded,
    }


def from_document(document: Mapping[str, Any]) -> Collection:
    """
    Read a collection from JSON.

    Raises:
        InvalidInput: If the document is not one that this version can read.
    """
    try:
        if document["format"] != _FORMAT:
            raise InvalidInput(
                f"the collection was exported in format {document['format']}, which this version "
                "of Milvane cannot read: upgrade Milvane"
            )
        schema = json_format.ParseDict(document["schema"], schema_pb2.CollectionSchema())
        return Collection(
            key=CollectionKey(document["database"], document["name"]),
            schema=schema,
            has_hidden_functions=document["has_hidden_functions"],
            properties=tuple(document["properties"].items()),
            consistency_level=document["consistency_level"],
            shards=document["shards"],
            partition_buckets=document["partition_buckets"],
            partitions=tuple(document["partitions"]),
            indexes=tuple(
                Index(each["name"], each["field"], tuple(each["params"].items()))
                for each in document["indexes"]
            ),
            aliases=tuple(document["aliases"]),
            is_loaded=document["is_loaded"],
        )
    except (KeyError, TypeError, AttributeError, json_format.ParseError) as error:
        raise InvalidInput(f"the exported collection is damaged: {error!r}") from error
