"""Collections without functions on the embedded engine, as unmodified clients see them."""

from __future__ import annotations

import pytest
from pymilvus import DataType, MilvusClient, MilvusException

from milvane.testing.servers import MilvaneProcess


def test_collection_is_described_as_it_was_made(server: MilvaneProcess) -> None:
    """With descriptions and ids, also after its properties were changed."""
    client = MilvusClient(uri=server.grpc_uri)
    schema = client.create_schema(description="plain rows")
    schema.add_field("id", DataType.INT64, is_primary=True, description="the key")
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    client.create_collection("plain_described", schema=schema)
    try:
        client.alter_collection_properties(
            "plain_described", properties={"collection.ttl.seconds": "600"}
        )
        found = client.describe_collection("plain_described")
        assert found["description"] == "plain rows"
        assert [field["field_id"] for field in found["fields"]] == [100, 101]
        assert found["fields"][0]["description"] == "the key"
        assert found["collection_id"] > 0
        assert found["properties"] == {"collection.ttl.seconds": "600"}
    finally:
        client.drop_collection("plain_described")


def test_what_milvus_lite_cannot_do_is_told_by_name(server: MilvaneProcess) -> None:
    """With the cure."""
    client = MilvusClient(uri=server.grpc_uri)
    client.create_collection("plain_fixed", dimension=4)
    try:
        with pytest.raises(
            Exception, match=r"AddCollectionField is not implemented by Milvus Lite"
        ):
            client.add_collection_field(
                "plain_fixed", "late", data_type=DataType.INT64, nullable=True
            )
    finally:
        client.drop_collection("plain_fixed")
    with pytest.raises(MilvusException, match="collection"):
        client.describe_collection("plain_fixed")
