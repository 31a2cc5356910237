"""
What Milvus tells of a collection and Milvus Lite forgets: ids, descriptions, the time of creation.

Pure. They are kept as a collection property, which clients never see; a collection made before that
has ids of its fields, which follow from their order, and no more.
"""

from __future__ import annotations

import json
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

PROPERTY_KEY = "milvane.identity"
"""The collection property."""

FIRST_ID = 100
"""Milvus numbers fields, and functions, from here in the order of the schema."""

_LOGICAL_BITS = 18
"""Bits of a Milvus timestamp below its milliseconds since 1970."""


def keep_identity(request: milvus_pb2.CreateCollectionRequest, timestamp: int) -> None:
    """
    Add the property to a request that creates a collection.

    Args:
        request: Its schema is as the client sent it; a property of that name is the gateway's own
            copy of another collection's, and gives way.

        timestamp: A Milvus timestamp that no other collection has.
    """
    schema = schema_pb2.CollectionSchema.FromString(request.schema)
    described = {each.name: each.description for each in schema.fields if each.description}
    functions = {each.name: each.description for each in schema.functions if each.description}
    told = {"description": schema.description, "fields": described, "functions": functions}
    document = {"timestamp": timestamp} | {key: value for key, value in told.items() if value}
    _take_property(request)
    request.properties.add(key=PROPERTY_KEY, value=json.dumps(document, ensure_ascii=False))


def restore_identity(response: milvus_pb2.DescribeCollectionResponse) -> None:
    """Take the property out of a description, and tell what it says as Milvus does."""
    document = _read(_take_property(response))
    schema = response.schema
    described = document.get("fields", {})
    for position, field in enumerate(schema.fields):
        field.fieldID = FIRST_ID + position
        field.description = field.description or described.get(field.name, "")
    ids = {field.name: field.fieldID for field in schema.fields}
    described = document.get("functions", {})
    for position, function in enumerate(schema.functions):
        function.id = FIRST_ID + position
        function.description = function.description or described.get(function.name, "")
        function.input_field_ids[:] = [ids[name] for name in function.input_field_names]
        function.output_field_ids[:] = [ids[name] for name in function.output_field_names]
    schema.description = schema.description or document.get("description", "")
    timestamp = int(document.get("timestamp", 0))
    response.collectionID = timestamp
    response.created_timestamp = timestamp
    response.created_utc_timestamp = timestamp >> _LOGICAL_BITS


def _take_property(message: Any) -> str:
    """Remove our property; returns its value, or an empty text."""
    value = ""
    kept = []
    for pair in message.properties:
        if pair.key == PROPERTY_KEY:
            value = pair.value
        else:
            kept.append(common_pb2.KeyValuePair(key=pair.key, value=pair.value))
    if len(kept) < len(message.properties):
        del message.properties[:]
        message.properties.extend(kept)
    return value


def _read(value: str) -> dict[str, Any]:
    try:
        document = json.loads(value) if value else {}
    except ValueError:  # somebody else's property of that name
        return {}
    return document if isinstance(document, dict) else {}
