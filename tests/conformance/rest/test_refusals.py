"""What REST refuses, with Milvus's codes and words."""

from __future__ import annotations

import httpx
import pytest

from rest_collections import Post, create

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

ROWS_REFUSED = [
    ({"id": 9, "document": ""}, 65535, "there is an empty string in the input data"),
    ({"id": "x", "document": "text"}, 1804, "it is not an integer: invalid parameter"),
    ({"document": "text"}, 1804, "missing field: id, row 1"),
    ({"id": 9, "document": "text", "dense": [0.0] * 1024}, 1804, "missing vector field: dense"),
    (5, 1804, "a row has to be an object"),
]


@pytest.mark.parametrize(("path", "body", "code", "message"), REFUSALS)
def test_refusal_has_milvus_code_and_words(
    post: Post, path: str, body: dict[str, object], code: int, message: str
) -> None:
    """Clients read the code, people the message."""
    answer = post(path, **body)
    assert answer["code"] == code
    assert message in answer["message"]


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


def test_huge_database_name_harms_nobody(http: httpx.Client) -> None:
    """A name of any length is refused, and the engine goes on."""
    long = {"dbName": "x" * 300_000}
    for path in ("collections/list", "entities/insert"):
        body = long | {"collectionName": "a", "data": [{"id": 1}]}
        answer = http.post(f"/v2/vectordb/{path}", json=body).json()
        assert answer["code"] not in {0, 2}
        assert "database" in answer["message"]
    assert http.post("/v2/vectordb/collections/list", json={}).json()["code"] == 0


@pytest.mark.parametrize("given", [b"Basic \xe9", b"Basic !!!", b"Basic /w=="])
def test_unreadable_credentials_are_not_known(http: httpx.Client, given: bytes) -> None:
    """What is no base64 of a text is nobody, not a failure of the server."""
    answer = http.post("/v2/vectordb/collections/list", json={}, headers={"authorization": given})
    assert (answer.status_code, answer.json()["code"]) == (401, 1800)


def test_other_paths_are_not_there(http: httpx.Client) -> None:
    """Neither other methods nor other names."""
    assert http.get("/v2/vectordb/collections/list").status_code == 404
    assert http.post("/v2/vectordb/collections/invent", json={}).status_code == 404
