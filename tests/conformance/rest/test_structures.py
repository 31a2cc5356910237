"""Collections, functions, partitions, indexes, aliases and databases over REST."""

from __future__ import annotations

from rest_collections import Post, create, embedding, insert_texts


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
