"""What Milvus tells of a collection and Milvus Lite forgets."""

from __future__ import annotations

import pytest
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.instances.lite.identity import (
    FIRST_ID,
    PROPERTY_KEY,
    keep_identity,
    restore_identity,
)

TIMESTAMP = 1_700_000_000_000 << 18


def a_schema(*, described: bool) -> schema_pb2.CollectionSchema:
    """Make a schema with a BM25 function."""
    schema = schema_pb2.CollectionSchema(name="articles")
    for name in ("id", "text", "terms"):
        schema.fields.add(name=name, description=f"the {name}" if described else "")
    function = schema.functions.add(name="bm25", description="terms" if described else "")
    function.input_field_names[:] = ["text"]
    function.output_field_names[:] = ["terms"]
    schema.description = "news ☃" if described else ""
    return schema


def described_later(
    request: milvus_pb2.CreateCollectionRequest,
) -> milvus_pb2.DescribeCollectionResponse:
    """Describe as Milvus Lite does: with the properties, without descriptions and ids."""
    return milvus_pb2.DescribeCollectionResponse(
        schema=a_schema(described=False), properties=request.properties
    )


def test_descriptions_and_ids_come_back() -> None:
    """And the property does not."""
    request = milvus_pb2.CreateCollectionRequest(
        schema=a_schema(described=True).SerializeToString()
    )
    request.properties.add(key="collection.ttl.seconds", value="60")
    keep_identity(request, TIMESTAMP)
    response = described_later(request)
    restore_identity(response)
    schema = response.schema
    assert schema.description == "news ☃"
    assert [field.description for field in schema.fields] == ["the id", "the text", "the terms"]
    assert [field.fieldID for field in schema.fields] == [100, 101, 102]
    [function] = schema.functions
    assert (function.id, function.description) == (FIRST_ID, "terms")
    assert (list(function.input_field_ids), list(function.output_field_ids)) == ([101], [102])
    assert (response.collectionID, response.created_timestamp) == (TIMESTAMP, TIMESTAMP)
    assert response.created_utc_timestamp == 1_700_000_000_000
    assert [pair.key for pair in response.properties] == ["collection.ttl.seconds"]


@pytest.mark.parametrize("value", [None, "", "not JSON", "[1]"])
def test_collection_without_the_property_has_ids_of_its_fields(value: str | None) -> None:
    """They follow from the order; the rest is not known."""
    response = milvus_pb2.DescribeCollectionResponse(schema=a_schema(described=False))
    if value is not None:
        response.properties.add(key=PROPERTY_KEY, value=value)
    restore_identity(response)
    assert [field.fieldID for field in response.schema.fields] == [100, 101, 102]
    assert response.collectionID == 0
    assert not response.properties


def test_property_that_a_client_sends_gives_way() -> None:
    """One collection's identity is not another's."""
    request = milvus_pb2.CreateCollectionRequest(
        schema=a_schema(described=False).SerializeToString()
    )
    request.properties.add(key=PROPERTY_KEY, value='{"timestamp": 1}')
    keep_identity(request, TIMESTAMP)
    assert len(request.properties) == 1
    response = described_later(request)
    restore_identity(response)
    assert response.collectionID == TIMESTAMP
