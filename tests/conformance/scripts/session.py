"""
A long session of an ordinary Milvus client, printed call by call as JSON lines.

Run with a URI; two servers are alike if the same session prints the same lines. Values that differ
from run to run (timestamps, generated names) are left out where they arise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from pymilvus import (
    AnnSearchRequest,
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    Function,
    FunctionType,
    MilvusClient,
    MilvusException,
    RRFRanker,
    WeightedRanker,
    connections,
    utility,
)

DIMENSION = 8


def plain(value: Any) -> Any:
    """Turn a client's result into what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) or type(value).__name__ in {"HybridExtraList", "Hits"}:
        return [plain(item) for item in value]
    if type(value).__name__ in {"Hit", "SearchResult", "ExtraList"}:
        return plain(dict(value) if hasattr(value, "keys") else list(value))
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, (str, int, bool, type(None))):
        return value
    return str(value)


def step(name: str, action: Callable[[], Any]) -> Any:
    """Do one call; print its result, or its refusal with code and words."""
    try:
        result = action()
    except MilvusException as error:
        print(json.dumps({name: {"code": error.code, "message": error.message}}))
        return None
    except Exception as error:  # noqa: BLE001 - the client's own refusals are compared as well
        print(json.dumps({name: {"error": type(error).__name__, "message": str(error)[:200]}}))
        return None
    print(json.dumps({name: plain(result)}, sort_keys=True))
    return result


def vector(seed: int) -> list[float]:
    """Make a vector that is the same in every run, and of no other seed: ties have no order."""
    return [((seed * 7 + i * 3) % 11) / 11 + seed / 512 for i in range(DIMENSION)]


def rows(start: int, count: int) -> list[dict[str, Any]]:
    """Make rows that are the same in every run."""
    return [
        {"id": i, "text": f"text {i}", "tag": f"t{i % 3}", "vector": vector(i), "extra": i * 2}
        for i in range(start, start + count)
    ]


def with_client(client: MilvusClient) -> None:
    """Collections, indexes, partitions, aliases, reads and writes through MilvusClient."""
    schema = client.create_schema(enable_dynamic_field=True, description="an ordinary collection")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=100)
    schema.add_field("tag", DataType.VARCHAR, max_length=10, nullable=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="L2", M=8, efConstruction=64)
    step("version", client.get_server_version)
    step("create", lambda: client.create_collection("plain", schema=schema, index_params=index))
    step("create again", lambda: client.create_collection("plain", schema=schema))
    step("list", client.list_collections)
    step("describe", lambda: client.describe_collection("plain"))
    step("describe absent", lambda: client.describe_collection("absent"))
    step("has", lambda: [client.has_collection(name) for name in ("plain", "absent")])
    step("insert", lambda: client.insert("plain", rows(0, 40)))
    step("insert bad row", lambda: client.insert("plain", [{"id": 1}]))
    step(
        "insert bad dimension", lambda: client.insert("plain", [rows(1, 1)[0] | {"vector": [1.0]}])
    )
    step("insert too long", lambda: client.insert("plain", [rows(1, 1)[0] | {"text": "x" * 200}]))
    step("upsert", lambda: client.upsert("plain", [rows(3, 1)[0] | {"text": "changed"}]))
    step("count", lambda: client.query("plain", output_fields=["count(*)"]))
    step("query", lambda: client.query("plain", "id in [1, 3, 5]", output_fields=["text", "extra"]))
    step(
        "query filter", lambda: client.query("plain", 'tag == "t1"', output_fields=["id"], limit=5)
    )
    step("query bad filter", lambda: client.query("plain", "id ==", output_fields=["id"]))
    step("get", lambda: client.get("plain", ids=[2, 4], output_fields=["id", "tag", "vector"]))
    step("search", lambda: client.search("plain", [vector(5)], limit=4, output_fields=["text"]))
    step(
        "search with filter",
        lambda: client.search("plain", [vector(5), vector(6)], filter="id > 10", limit=2),
    )
    step("search bad vector", lambda: client.search("plain", [[1.0, 2.0]], limit=2))
    step("search text", lambda: client.search("plain", ["words"], anns_field="vector", limit=2))
    step(
        "search range",
        lambda: client.search(
            "plain", [vector(5)], limit=5, search_params={"params": {"radius": 2.0}}
        ),
    )
    step("search groups", lambda: client.search("plain", [vector(5)], 3, group_by_field="tag"))
    step("delete ids", lambda: client.delete("plain", ids=[1, 2]))
    step("delete filter", lambda: client.delete("plain", filter='tag == "t0" and id > 30'))
    step("count after delete", lambda: client.query("plain", output_fields=["count(*)"]))
    step("flush", lambda: client.flush("plain"))
    step("stats", lambda: client.get_collection_stats("plain"))
    step("iterate", lambda: iterate(client))
    partitions_and_names(client)
    databases(client)
    step("properties", lambda: client.alter_collection_properties("plain", {"ttl.seconds": "60"}))
    step("describe altered", lambda: client.describe_collection("plain"))
    step("truncate", lambda: client.truncate_collection("plain"))
    step("drop", lambda: client.drop_collection("plain"))
    step("drop absent", lambda: client.drop_collection("plain"))


def iterate(client: MilvusClient) -> list[Any]:
    """Read all rows page by page."""
    pages = []
    iterator = client.query_iterator("plain", batch_size=7, output_fields=["id"])
    while page := iterator.next():
        pages.append([row["id"] for row in page])
    iterator.close()
    return pages


def partitions_and_names(client: MilvusClient) -> None:
    """Partitions, indexes, loading, aliases, renaming."""
    step("partition", lambda: client.create_partition("plain", "p1"))
    step("partitions", lambda: client.list_partitions("plain"))
    step("insert into", lambda: client.insert("plain", rows(100, 5), partition_name="p1"))
    step(
        "query partition",
        lambda: client.query("plain", "id >= 0", partition_names=["p1"], output_fields=["id"]),
    )
    step("query no partition", lambda: client.query("plain", "id > 0", partition_names=["p9"]))
    step("partition stats", lambda: client.get_partition_stats("plain", "p1"))
    step("release", lambda: client.release_collection("plain"))
    step("load state", lambda: client.get_load_state("plain"))
    step("search released", lambda: client.search("plain", [vector(5)], limit=1))
    step("load", lambda: client.load_collection("plain"))
    step("drop partition", lambda: client.drop_partition("plain", "p1"))
    step("indexes", lambda: client.list_indexes("plain"))
    step("index", lambda: client.describe_index("plain", "vector"))
    step("alias", lambda: client.create_alias("plain", "also"))
    step("aliases", lambda: client.list_aliases("plain"))
    step("describe alias", lambda: client.describe_alias("also"))
    step("search alias", lambda: client.search("also", [vector(7)], limit=1))
    step("drop alias", lambda: client.drop_alias("also"))
    step("rename", lambda: client.rename_collection("plain", "renamed"))
    step("rename back", lambda: client.rename_collection("renamed", "plain"))


def databases(client: MilvusClient) -> None:
    """A second database."""
    step("create database", lambda: client.create_database("second"))
    step("databases", client.list_databases)
    step("use", lambda: client.use_database("second"))
    step("list in second", client.list_collections)
    step("quick create", lambda: client.create_collection("quick", dimension=4))
    step("quick insert", lambda: client.insert("quick", [{"id": 1, "vector": [1, 2, 3, 4]}]))
    step("quick search", lambda: client.search("quick", [[1.0, 2.0, 3.0, 4.0]], limit=1))
    step("drop quick", lambda: client.drop_collection("quick"))
    step("use default", lambda: client.use_database("default"))
    step("drop database", lambda: client.drop_database("second"))


def hybrid(client: MilvusClient) -> None:
    """BM25, which the upstream runs, and hybrid search."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True, auto_id=True)
    schema.add_field("text", DataType.VARCHAR, max_length=200, enable_analyzer=True)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSION)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    index.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    step(
        "create bm25", lambda: client.create_collection("words", schema=schema, index_params=index)
    )
    step("describe bm25", lambda: client.describe_collection("words"))
    texts = ["a red apple", "a green pear", "red wine and apples", "nothing of the kind"]
    data = [{"text": text, "dense": vector(i)} for i, text in enumerate(texts)]
    step("insert bm25", lambda: client.insert("words", data)["insert_count"])
    step(
        "search bm25",
        lambda: client.search("words", ["red"], anns_field="sparse", output_fields=["text"]),
    )
    parts = [
        AnnSearchRequest([vector(1)], "dense", {"metric_type": "COSINE"}, limit=3),
        AnnSearchRequest(["red apple"], "sparse", {"metric_type": "BM25"}, limit=3),
    ]
    for name, ranker in (("rrf", RRFRanker()), ("weighted", WeightedRanker(0.6, 0.4))):
        step(
            name,
            lambda ranker=ranker: client.hybrid_search(
                "words", parts, ranker, limit=3, output_fields=["text"]
            ),
        )
    step("drop bm25", lambda: client.drop_collection("words"))


def with_orm(uri: str) -> None:
    """The older interface: Collection and utility."""
    connections.connect(alias="orm", uri=uri)
    fields = [
        FieldSchema("id", DataType.VARCHAR, is_primary=True, max_length=20),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=DIMENSION),
    ]
    collection = Collection("old", CollectionSchema(fields), using="orm")
    step("orm has", lambda: utility.has_collection("old", using="orm"))
    ids = [f"k{i}" for i in range(10)]
    step(
        "orm insert", lambda: collection.insert([ids, [vector(i) for i in range(10)]]).primary_keys
    )
    step(
        "orm index",
        lambda: collection.create_index("vector", {"index_type": "FLAT", "metric_type": "IP"}).code,
    )
    step("orm load", collection.load)
    step("orm search", lambda: collection.search([vector(3)], "vector", {}, limit=3)[0].ids)
    step("orm entities", lambda: collection.num_entities)
    step("orm delete", lambda: collection.delete('id == "k1"').delete_count)
    step("orm drop", collection.drop)
    connections.disconnect("orm")


def main(uri: str) -> None:
    """Run the whole session."""
    client = MilvusClient(uri=uri)
    with_client(client)
    hybrid(client)
    with_orm(uri)
    client.close()


if __name__ == "__main__":
    main(sys.argv[1])
