"""Rows over REST: insert, upsert, search, query, get and delete."""

from __future__ import annotations

import pytest

from rest_collections import TEXTS, Post, create, insert_texts


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
