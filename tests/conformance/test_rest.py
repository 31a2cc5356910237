"""REST v2 through a plain HTTP client, on the port that gRPC clients use."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymilvus import MilvusClient

from milvane.testing.servers import MilvaneProcess

V4 = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
TEXTS = [
    "The cat sleeps on the warm windowsill.",
    "Stock markets fell sharply on Monday.",
    "Fresh bread smells wonderful in the morning.",
    "The spacecraft entered orbit around Mars.",
]
numbers = count()

Post = Callable[..., dict[str, Any]]


@pytest.fixture
def http(server: MilvaneProcess) -> Iterator[httpx.Client]:
    """A connection to the Milvus port."""
    with httpx.Client(base_url=server.grpc_uri, timeout=30) as client:
        yield client


@pytest.fixture
def post(http: httpx.Client) -> Post:
    """Call a path with a body; return the whole answer."""

    def call(path: str, headers: dict[str, str] | None = None, **body: object) -> dict[str, Any]:
        reply = http.post(f"/v2/vectordb/{path}", json=body, headers=headers)
        assert reply.status_code == 200
        return reply.json()

    return call


@pytest.fixture
def name(post: Post) -> Iterator[str]:
    """A collection name that nobody else uses; what is called so is gone in the end."""
    name = f"rest_{next(numbers)}"
    yield name
    for collection in post("collections/list")["data"]:
        if collection.startswith(name):
            post("collections/drop", collectionName=collection)


def embedding(**params: str) -> dict[str, object]:
    """Write the function that fills `dense` from `document`."""
    return {
        "name": "embed",
        "type": "TextEmbedding",
        "inputFieldNames": ["document"],
        "outputFieldNames": ["dense"],
        "params": params or V4,
    }


def create(post: Post, name: str, **settings: object) -> None:
    """Create a collection with an embedding function and BM25, index it and load it."""
    text = {"max_length": 9000, "enable_analyzer": True}
    answer = post(
        "collections/create",
        collectionName=name,
        schema={
            "autoID": False,
            "enableDynamicField": True,
            "fields": [
                {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
                {"fieldName": "document", "dataType": "VarChar", "elementTypeParams": text},
                {
                    "fieldName": "dense",
                    "dataType": "FloatVector",
                    "elementTypeParams": {"dim": "1024"},
                },
                {"fieldName": "sparse", "dataType": "SparseFloatVector"},
                {
                    "fieldName": "note",
                    "dataType": "VarChar",
                    "nullable": True,
                    "elementTypeParams": {"max_length": 100},
                },
            ],
            "functions": [
                embedding(),
                {
                    "name": "bm25",
                    "type": "BM25",
                    "inputFieldNames": ["document"],
                    "outputFieldNames": ["sparse"],
                },
            ],
        },
        indexParams=[
            {"fieldName": "dense", "indexType": "AUTOINDEX", "metricType": "COSINE"},
            {
                "fieldName": "sparse",
                "indexType": "SPARSE_INVERTED_INDEX",
                "metricType": "BM25",
            },
        ],
        **settings,
    )
    assert answer == {"code": 0, "data": {}}


def insert_texts(post: Post, name: str) -> None:
    """Insert all texts, with ids from 0 and a dynamic field."""
    rows = [{"id": i, "document": text, "length": len(text)} for i, text in enumerate(TEXTS)]
    answer = post("entities/insert", collectionName=name, data=rows)
    assert answer["data"] == {"insertCount": 4, "insertIds": [0, 1, 2, 3]}, answer


def test_raw_text_goes_in_and_finds_its_answer(post: Post, name: str) -> None:
    """Rows with texts are embedded, and so is the question."""
    create(post, name)
    insert_texts(post, name)
    answer = post(
        "entities/search",
        collectionName=name,
        data=["space travel", "bakery"],
        annsField="dense",
        limit=2,
        outputFields=["document", "length"],
    )
    assert answer["code"] == 0
    assert answer["topks"] == [2, 2]
    hits = answer["data"]
    assert [hits[0]["id"], hits[2]["id"]] == [3, 2]
    assert hits[0]["document"] == TEXTS[3]
    assert hits[0]["length"] == len(TEXTS[3])
    assert hits[0]["distance"] > hits[1]["distance"]
    assert set(hits[0]) == {"id", "distance", "document", "length"}


def test_vector_searches_a_function_field(post: Post, name: str) -> None:
    """A list of numbers is a vector, not a text to embed."""
    create(post, name)
    insert_texts(post, name)
    (row,) = post("entities/get", collectionName=name, id=[1], outputFields=["dense"])["data"]
    assert len(row["dense"]) == 1024
    answer = post("entities/search", collectionName=name, data=[row["dense"]], annsField="dense")
    assert answer["data"][0]["id"] == 1
    assert answer["data"][0]["distance"] == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("path", ["entities/hybrid_search", "entities/advanced_search"])
def test_hybrid_search_ranks_dense_and_bm25(post: Post, name: str, path: str) -> None:
    """Each part is embedded by its owner, whichever way the path is called."""
    create(post, name)
    insert_texts(post, name)
    answer = post(
        path,
        collectionName=name,
        search=[
            {"data": ["space travel"], "annsField": "dense", "limit": 3},
            {"data": ["orbit around Mars"], "annsField": "sparse", "limit": 3},
        ],
        rerank={"strategy": "rrf", "params": {"k": 60}},
        limit=2,
        outputFields=["document"],
    )
    assert answer["data"][0]["id"] == 3
    assert answer["data"][0]["document"] == TEXTS[3]


def test_upsert_embeds_the_new_text(post: Post, name: str) -> None:
    """The vector follows its text; a partial update without the text keeps both."""
    create(post, name)
    insert_texts(post, name)
    row = {"id": 1, "document": TEXTS[3]}
    answer = post("entities/upsert", collectionName=name, data=row)
    assert answer["data"] == {"upsertCount": 1, "upsertIds": [1]}
    hits = post(
        "entities/search", collectionName=name, data=[TEXTS[3]], annsField="dense", limit=2
    )["data"]
    assert {hit["id"] for hit in hits} == {1, 3}
    part = {"id": 2, "note": "only this"}
    answer = post("entities/upsert", collectionName=name, data=[part], partialUpdate=True)
    assert answer["code"] == 0
    (kept,) = post("entities/get", collectionName=name, id=2)["data"]
    assert (kept["document"], kept["note"]) == (TEXTS[2], "only this")


def test_rows_are_queried_and_deleted(post: Post, name: str) -> None:
    """By filter and by key; what is null is written as null."""
    create(post, name)
    insert_texts(post, name)
    rows = post(
        "entities/query",
        collectionName=name,
        filter="id > 1",
        outputFields=["id", "note", "length"],
    )["data"]
    assert sorted(row["id"] for row in rows) == [2, 3]
    assert rows[0]["note"] is None
    assert post("entities/delete", collectionName=name, filter="id in [0]")["code"] == 0
    assert post("entities/delete", collectionName=name, id=[1, 2])["code"] == 0
    rows = post("entities/query", collectionName=name, filter="id >= 0")["data"]
    assert [row["id"] for row in rows] == [3]
    counted = post("entities/query", collectionName=name, outputFields=["count(*)"])["data"]
    assert counted == [{"count(*)": 1}]


def test_quick_collection_takes_vectors(post: Post, name: str) -> None:
    """A dimension is enough to begin with; keys of 64 bits come back whole, or as text."""
    post("collections/create", collectionName=name, dimension=4)
    key = 2**62 + 1
    rows = [{"id": key, "vector": [1, 0, 0, 0], "colour": "red"}]
    answer = post("entities/insert", collectionName=name, data=rows)
    assert answer["data"]["insertIds"] == [key]
    exact = {"collectionName": name, "data": [[0.9, 0.1, 0, 0]]}
    assert post("entities/search", **exact)["data"][0]["id"] == key
    as_text = post("entities/search", headers={"Accept-Type-Allow-Int64": "false"}, **exact)
    assert as_text["data"][0]["id"] == str(key)


def test_collection_is_described(post: Post, name: str) -> None:
    """Fields, functions, indexes and properties, as Milvus writes them."""
    create(post, name, description="what is said")
    found = post("collections/describe", collectionName=name)["data"]
    assert found["collectionName"] == name
    assert found["description"] == "what is said"
    assert found["load"] == "LoadStateLoaded"
    assert found["enableDynamicField"] is True
    fields = {field["name"]: field for field in found["fields"]}
    assert fields["id"]["primaryKey"] is True
    assert fields["id"]["type"] == "Int64"
    assert fields["dense"]["isFunctionOutput"] is True
    assert {"key": "dim", "value": "1024"} in fields["dense"]["params"]
    function = next(entry for entry in found["functions"] if entry["name"] == "embed")
    assert function["inputFieldNames"] == ["document"]
    assert {"key": "model_name", "value": "text-embedding-v4"} in function["params"]
    indexes = {index["fieldName"]: index for index in found["indexes"]}
    assert indexes["dense"]["metricType"] == "COSINE"
    assert not any(pair["key"].startswith("milvane.") for pair in found["properties"])


def test_collection_lives_and_dies(post: Post, name: str) -> None:
    """List, has, rename, release, load, count, flush, properties and drop."""
    create(post, name)
    insert_texts(post, name)
    assert name in post("collections/list")["data"]
    assert post("collections/has", collectionName=name)["data"] == {"has": True}
    assert post("collections/flush", collectionName=name)["code"] == 0
    compaction = post("collections/compact", collectionName=name)["data"]["compactionID"]
    state = post("collections/get_compaction_state", jobID=compaction)["data"]["state"]
    assert state == "Completed"
    assert post("collections/get_stats", collectionName=name)["data"] == {"rowCount": 4}
    assert post("collections/release", collectionName=name)["code"] == 0
    state = post("collections/get_load_state", collectionName=name)["data"]
    assert state == {"loadState": "LoadStateNotLoad"}
    assert post("collections/load", collectionName=name)["code"] == 0
    state = post("collections/get_load_state", collectionName=name)["data"]
    assert state == {"loadState": "LoadStateLoaded", "loadProgress": 100}
    ttl = {"collection.ttl.seconds": 3600}
    post("collections/alter_properties", collectionName=name, properties=ttl)
    described = post("collections/describe", collectionName=name)["data"]["properties"]
    assert {"key": "collection.ttl.seconds", "value": "3600"} in described
    post("collections/drop_properties", collectionName=name, propertyKeys=list(ttl))
    described = post("collections/describe", collectionName=name)["data"]["properties"]
    assert not described
    assert post("collections/truncate", collectionName=name)["code"] == 0
    assert post("collections/get_stats", collectionName=name)["data"] == {"rowCount": 0}
    renamed = post("collections/rename", collectionName=name, newCollectionName=f"{name}_new")
    assert renamed["code"] == 0
    assert post("collections/drop", collectionName=f"{name}_new")["code"] == 0
    assert post("collections/has", collectionName=f"{name}_new")["data"] == {"has": False}


def test_function_is_dropped_added_and_altered(post: Post, name: str) -> None:
    """The paths of functions do what their RPCs do."""
    create(post, name)
    assert post("collections/drop_function", collectionName=name, FunctionName="embed")["code"] == 0
    added = post("collections/add_function", collectionName=name, function=embedding())
    assert added["code"] == 0, added
    v3 = embedding(provider="aliyun_milvus", model_name="text-embedding-v3")
    post("collections/alter_function", collectionName=name, functionName="embed", function=v3)
    functions = post("collections/describe", collectionName=name)["data"]["functions"]
    function = next(entry for entry in functions if entry["name"] == "embed")
    assert {"key": "model_name", "value": "text-embedding-v3"} in function["params"]


def test_partitions_keep_rows_apart(post: Post, name: str) -> None:
    """They are made, listed, filled, searched and dropped."""
    post("collections/create", collectionName=name, dimension=4)
    place = {"collectionName": name, "partitionName": "first"}
    assert post("partitions/create", **place)["code"] == 0
    assert post("partitions/has", **place)["data"] == {"has": True}
    assert sorted(post("partitions/list", collectionName=name)["data"]) == ["_default", "first"]
    post("entities/insert", data=[{"id": 1, "vector": [1, 0, 0, 0]}], **place)
    post("entities/insert", collectionName=name, data=[{"id": 2, "vector": [1, 0, 0, 0]}])
    assert post("partitions/get_stats", **place)["code"] == 0
    found = post(
        "entities/search", collectionName=name, data=[[1, 0, 0, 0]], partitionNames=["first"]
    )
    assert [hit["id"] for hit in found["data"]] == [1]
    named = {"collectionName": name, "partitionNames": ["first"]}
    for path in ("partitions/load", "partitions/release"):
        answer = post(path, **named)
        assert answer["code"] == 65535
        assert "MilvusLite does not support" in answer["message"]
    post("collections/release", collectionName=name)
    assert post("partitions/drop", **place)["code"] == 0


def test_indexes_are_made_and_dropped(post: Post, name: str) -> None:
    """An index is found under its own name."""
    post("collections/create", collectionName=name, dimension=4)
    assert post("indexes/list", collectionName=name)["data"] == ["vector"]
    (index,) = post("indexes/describe", collectionName=name, indexName="vector")["data"]
    assert (index["fieldName"], index["metricType"]) == ("vector", "COSINE")
    post("collections/release", collectionName=name)
    assert post("indexes/drop", collectionName=name, indexName="vector")["code"] == 0
    assert post("indexes/list", collectionName=name)["data"] == []
    params = [{"fieldName": "vector", "indexName": "again", "metricType": "L2"}]
    assert post("indexes/create", collectionName=name, indexParams=params)["code"] == 0
    assert post("collections/load", collectionName=name)["code"] == 0


def test_alias_stands_for_its_collection(post: Post, name: str) -> None:
    """It is made, read, moved and dropped."""
    for number in (1, 2):
        post("collections/create", collectionName=f"{name}_{number}", dimension=4)
    alias = f"{name}_alias"
    post("aliases/create", collectionName=f"{name}_1", aliasName=alias)
    assert alias in post("aliases/list")["data"]
    post("aliases/alter", collectionName=f"{name}_2", aliasName=alias)
    found = post("aliases/describe", aliasName=alias)["data"]
    assert (found["collectionName"], found["aliasName"]) == (f"{name}_2", alias)
    assert post("aliases/drop", aliasName=alias)["code"] == 0
    assert alias not in post("aliases/list")["data"]


def test_database_keeps_its_collections_apart(post: Post, name: str) -> None:
    """It is named in the body or in a header."""
    database = f"db_{name}"
    assert post("databases/create", dbName=database)["code"] == 0
    assert database in post("databases/list")["data"]
    assert post("databases/describe", dbName=database)["data"]["dbName"] == database
    post("databases/alter", dbName=database, properties={"note": "x"})
    post("collections/create", collectionName=name, dimension=4, dbName=database)
    assert post("collections/list", dbName=database)["data"] == [name]
    assert post("collections/list", headers={"DB-Name": database})["data"] == [name]
    assert name not in post("collections/list")["data"]
    post("collections/drop", collectionName=name, dbName=database)
    assert post("databases/drop", dbName=database)["code"] == 0


def test_every_scalar_type_survives(post: Post, name: str) -> None:
    """What goes in as JSON comes out as the same JSON."""
    types = {
        "bool": "Bool",
        "small": "Int8",
        "middle": "Int16",
        "usual": "Int32",
        "large": "Int64",
        "single": "Float",
        "double": "Double",
        "text": "VarChar",
        "free": "JSON",
        "list": "Array",
    }
    extras = {
        "text": {"elementTypeParams": {"max_length": 50}},
        "list": {"elementDataType": "Int64", "elementTypeParams": {"max_capacity": 10}},
    }
    fields = [{"fieldName": "id", "dataType": "Int64", "isPrimary": True}]
    fields += [
        {"fieldName": key, "dataType": kind, **extras.get(key, {})} for key, kind in types.items()
    ]
    fields += [
        {"fieldName": "vector", "dataType": "FloatVector", "elementTypeParams": {"dim": 2}},
        {"fieldName": "given", "dataType": "Int64", "defaultValue": 7},
        {"fieldName": "maybe", "dataType": "Int32", "nullable": True},
    ]
    post(
        "collections/create",
        collectionName=name,
        schema={"fields": fields},
        indexParams=[{"fieldName": "vector", "metricType": "L2"}],
    )
    row = {
        "id": 1,
        "bool": True,
        "small": -128,
        "middle": 32767,
        "usual": -5,
        "large": 2**63 - 1,
        "single": 0.1,
        "double": 1e300,
        "text": 'quoted "text" ☃',
        "free": {"a": [1, None, {"b": "c"}]},
        "list": [1, 2, 3],
        "vector": [0.5, 0.25],
    }
    answer = post("entities/insert", collectionName=name, data=[row])
    assert answer["code"] == 0, answer
    (found,) = post("entities/get", collectionName=name, id="1")["data"]
    assert found == row | {"given": 7, "maybe": None}


def test_generated_keys_come_back(post: Post, name: str) -> None:
    """A collection that makes its own keys takes rows without them."""
    post("collections/create", collectionName=name, dimension=2, autoID=True)
    rows = [{"vector": [1, 0]}, {"vector": [0, 1]}]
    ids = post("entities/insert", collectionName=name, data=rows)["data"]["insertIds"]
    assert len(set(ids)) == 2
    (found,) = post("entities/search", collectionName=name, data=[[0, 1]], limit=1)["data"]
    assert found["id"] == ids[1]


REFUSALS = [
    ("collections/describe", {"collectionName": "absent"}, 100, "can't find collection"),
    ("entities/insert", {"collectionName": "absent", "data": [{}]}, 100, "can't find collection"),
    ("collections/describe", {}, 1802, "missing required parameters"),
    ("collections/describe", {"collectionName": ""}, 1802, "'CollectionName' failed on"),
    ("entities/insert", {"collectionName": "x"}, 1802, "missing required parameters"),
    ("collections/create", {"collectionName": "x"}, 1100, "dimension is required"),
    ("collections/describe", {"collectionName": 5}, 1801, "can only accept json format request"),
    ("jobs/import/create", {"collectionName": "x"}, 65535, "is not served here"),
]


@pytest.mark.parametrize(("path", "body", "code", "message"), REFUSALS)
def test_refusal_has_milvus_code_and_words(
    post: Post, path: str, body: dict[str, object], code: int, message: str
) -> None:
    """Clients read the code, people the message."""
    answer = post(path, **body)
    assert answer["code"] == code
    assert message in answer["message"]


ROWS_REFUSED = [
    ({"id": 9, "document": ""}, 65535, "there is an empty string in the input data"),
    ({"id": "x", "document": "text"}, 1804, "it is not an integer: invalid parameter"),
    ({"document": "text"}, 1804, "missing field: id, row 1"),
    ({"id": 9, "document": "text", "dense": [0.0] * 1024}, 1804, "missing vector field: dense"),
    (5, 1804, "a row has to be an object"),
]


@pytest.mark.parametrize(("row", "code", "message"), ROWS_REFUSED)
def test_bad_row_is_refused_whole(
    post: Post, name: str, row: object, code: int, message: str
) -> None:
    """The refusal says what is wrong, and no row of the request is stored."""
    create(post, name)
    rows = [{"id": 8, "document": "good"}, row]
    answer = post("entities/insert", collectionName=name, data=rows)
    assert answer["code"] == code
    assert message in answer["message"]
    counted = post("entities/query", collectionName=name, outputFields=["count(*)"])["data"]
    assert counted == [{"count(*)": 0}]


def test_brought_output_vector_is_refused(post: Post, name: str) -> None:
    """A vector for a function's output needs the collection's leave, over REST as over gRPC."""
    create(post, name)
    row = {"id": 9, "document": "text", "dense": [0.0] * 1024}
    answer = post("entities/insert", collectionName=name, data=[row])
    assert answer["code"] == 65535
    assert "allowInsertNonBM25FunctionOutputs" in answer["message"]


def test_texts_and_vectors_do_not_mix(post: Post, name: str) -> None:
    """One search has queries of one sort, that fit the field."""
    create(post, name)
    search = {"collectionName": name, "annsField": "dense"}
    mixed = post("entities/search", data=["text", [0.0] * 1024], **search)
    assert (mixed["code"], "cannot be mixed" in mixed["message"]) == (1801, True)
    short = post("entities/search", data=[[0.0] * 3], **search)
    assert "dimension: 1024, but length of []float: 3" in short["message"]
    unclear = post("entities/search", collectionName=name, data=["text"])
    assert "multiple vector fields" in unclear["message"]


def test_body_that_is_no_json_is_refused(http: httpx.Client) -> None:
    """The code is Milvus's for it; no body at all is the same."""
    for content in (b"{", b"", b"[]", b"\xff"):
        answer = http.post("/v2/vectordb/collections/list", content=content).json()
        assert answer["code"] == 1801


def test_other_paths_are_not_there(http: httpx.Client) -> None:
    """Neither other methods nor other names."""
    assert http.get("/v2/vectordb/collections/list").status_code == 404
    assert http.post("/v2/vectordb/collections/invent", json={}).status_code == 404


def test_both_protocols_share_the_port(server: MilvaneProcess, post: Post, name: str) -> None:
    """What one client writes the other reads."""
    create(post, name)
    client = MilvusClient(uri=server.grpc_uri)
    client.insert(name, [{"id": 1, "document": TEXTS[0]}])
    post("entities/insert", collectionName=name, data=[{"id": 2, "document": TEXTS[3]}])
    (hits,) = client.search(name, ["space travel"], anns_field="dense", limit=1)
    assert hits[0]["id"] == 2
    found = post("entities/search", collectionName=name, data=["pet"], annsField="dense", limit=1)
    assert found["data"][0]["id"] == 1
    client.close()


def test_port_may_be_grpc_alone(tmp_path: Path) -> None:
    """Turned off, REST is not there, and gRPC is as it was."""
    switch = {"MILVANE_GATEWAY__REST": "false"}
    with MilvaneProcess(tmp_path / "data", environment=switch) as server:
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{server.grpc_uri}/v2/vectordb/collections/list", json={}, timeout=5)
        client = MilvusClient(uri=server.grpc_uri)
        assert client.list_collections() == []
        client.close()


def test_curl_speaks_to_the_port(server: MilvaneProcess) -> None:
    """The commonest client of all, with a token that an open server does not ask for."""
    run = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--max-time", "20"),
            *("--header", "Authorization: Bearer root:Milvus"),
            *("--header", "Content-Type: application/json"),
            *("--data", "{}", f"{server.grpc_uri}/v2/vectordb/databases/list"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"code":0' in run.stdout
    assert '"default"' in run.stdout


@pytest.mark.parametrize(
    "said",
    [b"nonsense\r\n\r\n", b"POST /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"],
    ids=["no protocol", "huge header"],
)
def test_malformed_request_is_answered_and_ended(server: MilvaneProcess, said: bytes) -> None:
    """The server says that it is no HTTP, closes, and lives."""
    host, _, port = server.grpc_uri.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(said)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
