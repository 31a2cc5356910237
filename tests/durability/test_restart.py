"""What a later process knows of what an earlier one did."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient

from milvane.testing.servers import MilvaneProcess


@pytest.mark.parametrize("is_killed", [False, True], ids=["terminated", "killed"])
def test_collection_of_an_earlier_process_is_complete(tmp_path: Path, *, is_killed: bool) -> None:
    """Functions, rows and vectors are there at once: the collection is loaded before ready."""
    server = MilvaneProcess(tmp_path / "data")
    server.start()
    client = MilvusClient(uri=server.grpc_uri)
    schema = client.create_schema(description="kept")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=200)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    params = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
    function = Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
    schema.add_function(function)
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("kept", schema=schema, index_params=index)
    client.insert("kept", [{"id": 1, "document": "a red apple"}, {"id": 2, "document": "a ship"}])
    before = client.describe_collection("kept")
    client.close()
    if is_killed:
        server.kill()
    else:
        server.terminate()

    with MilvaneProcess(tmp_path / "data") as later:
        client = MilvusClient(uri=later.grpc_uri)
        (hits,) = client.search("kept", ["fruit"], anns_field="dense", limit=1)
        assert hits[0]["id"] == 1
        assert client.describe_collection("kept") == before
        client.upsert("kept", [{"id": 2, "document": "a pear"}])
        (hits,) = client.search("kept", ["a pear"], anns_field="dense", limit=1)
        assert hits[0]["id"] == 2
        client.close()
