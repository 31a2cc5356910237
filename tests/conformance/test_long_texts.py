"""Texts beyond the model's limit, where the operator lets them be cut."""

from __future__ import annotations

from pathlib import Path

from pymilvus import DataType, Function, FunctionType, MilvusClient

from milvane.testing.servers import MilvaneProcess

LIMIT_TOKENS = 2048


def test_text_is_cut_where_the_operator_allows_it(tmp_path: Path) -> None:
    """The row is taken with the vector of its first part, and the log says so."""
    environment = {"MILVANE_SERVING__CUT_LONG_INPUTS": "true"}
    with MilvaneProcess(tmp_path / "data", environment=environment) as server:
        client = MilvusClient(uri=server.grpc_uri)
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("document", DataType.VARCHAR, max_length=65535)
        schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1536)
        params = {"provider": "aliyun_milvus", "model_name": "text-embedding-v2"}
        schema.add_function(
            Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
        )
        index = client.prepare_index_params()
        index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
        client.create_collection("long", schema=schema, index_params=index)
        kept = "river " * LIMIT_TOKENS
        client.insert("long", [{"id": 1, "document": kept + "volcano " * 3000}])
        (hits,) = client.search("long", [kept], anns_field="dense", limit=1)
        assert hits[0]["distance"] > 0.999
        client.close()
    assert (
        "cut to the model's token limit: collection long, function embed" in server.log.read_text()
    )
