"""Collections moved between a server, a Milvus by itself and folders, by the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient

from milvane.testing.servers import MilvaneProcess

DIMENSION = 1024
TEXTS = ["a red apple", "a ship at sea", "a symphony in four movements"]


def milvane(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the program and wait for its end."""
    return subprocess.run(
        [sys.executable, "-m", "milvane.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"},
    )


def client_of(uri: str) -> Iterator[MilvusClient]:
    """Connect an unmodified client."""
    client = MilvusClient(uri)
    yield client
    client.close()


@pytest.fixture
def here(server: MilvaneProcess) -> Iterator[MilvusClient]:
    """A client of our server."""
    yield from client_of(server.grpc_uri)


@pytest.fixture
def there(bare_lite_uri: str) -> Iterator[MilvusClient]:
    """A client of a Milvus Lite without anything of ours."""
    yield from client_of(bare_lite_uri)


def own_vector(number: int) -> list[float]:
    """Say which vector a row is given that no model would make of its text."""
    vector = np.random.default_rng(number).normal(size=DIMENSION).astype(np.float32)
    return list((vector / np.linalg.norm(vector)).tolist())


def make_articles(client: MilvusClient, name: str) -> None:
    """Make a collection with all that has to travel: functions, partitions, nulls, aliases."""
    schema = client.create_schema(enable_dynamic_field=True, description="what travels")
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=50)
    schema.add_field("document", DataType.VARCHAR, max_length=200, enable_analyzer=True)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSION)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("facts", DataType.JSON, nullable=True)
    schema.add_field("score", DataType.DOUBLE, nullable=True)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.INT64, max_capacity=8)
    params = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
    )
    schema.add_function(Function("count", FunctionType.BM25, ["document"], ["words"]))
    index = client.prepare_index_params()
    index.add_index("dense", index_type="HNSW", metric_type="COSINE")
    index.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection(
        name, schema=schema, index_params=index, properties={"collection.ttl.seconds": "0"}
    )
    client.create_partition(name, "other")
    client.create_alias(name, f"{name}_now")
    for partition, numbers in (("_default", range(40)), ("other", range(40, 60))):
        client.insert(name, [row_of(number) for number in numbers], partition_name=partition)


def row_of(number: int) -> dict[str, Any]:
    """Write a row, with nulls, dynamic fields and quotes in its key."""
    return {
        "id": f'row "{number}"',
        "document": TEXTS[number % 3],
        "facts": None if number % 3 else {"b": [number, {"deep": True}], "a": "ü"},
        "score": None if number % 2 else number / 3,
        "tags": list(range(number % 5)),
        "extra": f"dynamic {number}",
    }


def give_own_vectors(there: MilvusClient, name: str, numbers: range) -> None:
    """Replace vectors behind the server's back: whoever embeds again destroys them."""
    there.upsert(name, [{**row_of(n), "dense": own_vector(n)} for n in numbers])


def rows_of(client: MilvusClient, name: str) -> list[dict[str, Any]]:
    """Read everything, vectors included, in the order of keys."""
    fields = ["id", "document", "dense", "facts", "score", "tags", "extra"]
    found = client.query(name, filter='id != ""', output_fields=fields)
    return sorted((dict(row) for row in found), key=lambda row: str(row["id"]))


def vectors_of(rows: list[dict[str, Any]]) -> bytes:
    """Write the vectors of rows as bytes."""
    return np.array([row.pop("dense") for row in rows], dtype=np.float32).tobytes()


def checksums(output: str) -> dict[str, tuple[int, str]]:
    """Read rows and checksum of each collection from a summary."""
    found = re.findall(r"^(\S+): (\d+) rows copied, checksum (\w+)", output, re.MULTILINE)
    return {name: (int(rows), checksum) for name, rows, checksum in found}


def test_collections_travel_there_and_back_as_they_are(
    here: MilvusClient,
    there: MilvusClient,
    server: MilvaneProcess,
    bare_lite_uri: str,
    tmp_path: Path,
) -> None:
    """Rows, vectors, functions, indexes, aliases and partitions arrive; nothing is embedded."""
    make_articles(here, "travels")
    out = milvane(
        *("migrate", "--from", server.grpc_uri, "--to", bare_lite_uri),
        *("--collections", "travels"),
        cwd=tmp_path,
    )
    assert out.returncode == 0, out.stdout + out.stderr
    assert "counts and checksums are equal" in out.stdout
    before, arrived = rows_of(here, "travels"), rows_of(there, "travels")
    assert vectors_of(before) == vectors_of(arrived)
    assert before == arrived
    give_own_vectors(there, "travels", range(5))
    arrived = rows_of(there, "travels")
    here.drop_alias("travels_now")
    here.drop_collection("travels")
    back = milvane(
        *("migrate", "--from", bare_lite_uri, "--to", server.grpc_uri),
        *("--collections", "travels"),
        cwd=tmp_path,
    )
    assert back.returncode == 0, back.stdout + back.stderr
    returned = rows_of(here, "travels")
    assert vectors_of(returned) == vectors_of(arrived)
    assert returned == arrived
    description = here.describe_collection("travels_now")
    assert {each["name"] for each in description["functions"]} == {"embed", "count"}
    assert description["properties"] == {"collection.ttl.seconds": "0"}
    assert sorted(here.list_partitions("travels")) == ["_default", "other"]
    assert here.describe_index("travels", "dense")["index_type"] == "HNSW"
    (hits,) = here.search("travels", ["classical music"], anns_field="dense", limit=1)
    assert json.loads(str(hits[0]["id"]).split(" ")[1]).isdigit()
    (hits,) = here.search("travels", ["symphony"], anns_field="words", limit=3)
    assert len(hits) == 3


def test_exported_folder_becomes_a_collection_again(
    here: MilvusClient,
    server: MilvaneProcess,
    bare_lite_uri: str,
    there: MilvusClient,
    tmp_path: Path,
) -> None:
    """A folder holds everything, in files that other programs read."""
    make_articles(here, "exported")
    out = milvane(
        *("export", "backup", "--from", server.grpc_uri, "--collections", "exported"), cwd=tmp_path
    )
    assert out.returncode == 0, out.stdout + out.stderr
    (first, _) = sorted((tmp_path / "backup").rglob("*.parquet"))
    table = pq.read_table(first)
    assert table.num_rows == 40
    assert table.column("dense").type.list_size == DIMENSION
    assert set(table.column("document").to_pylist()) == set(TEXTS)
    into = milvane("import", "backup", "--to", bare_lite_uri, cwd=tmp_path)
    assert into.returncode == 0, into.stdout + into.stderr
    assert checksums(into.stdout) == checksums(out.stdout)
    assert rows_of(there, "exported") == rows_of(here, "exported")
    again = milvane("import", "backup", "--to", bare_lite_uri, cwd=tmp_path)
    assert again.returncode == 1
    assert "has a collection exported already" in again.stderr


def test_collections_of_every_kind_arrive(
    server: MilvaneProcess, bare_lite_uri: str, tmp_path: Path
) -> None:
    """Databases, partition keys, keys made by the server, released and empty collections."""
    here, there = MilvusClient(server.grpc_uri), MilvusClient(bare_lite_uri)
    here.create_database("kinds")
    here.use_database("kinds")
    for name in ("keyed", "made", "released", "empty"):
        schema = here.create_schema(auto_id=name == "made")
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("owner", DataType.VARCHAR, max_length=9, is_partition_key=name == "keyed")
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        index = here.prepare_index_params()
        index.add_index("vector", index_type="AUTOINDEX", metric_type="L2")
        here.create_collection(name, schema=schema, index_params=index)
        rows = [{"id": n, "owner": f"owner {n % 7}", "vector": [n, 1]} for n in range(20)]
        if name == "made":
            rows = [{key: row[key] for key in ("owner", "vector")} for row in rows]
        if name != "empty":
            here.insert(name, rows)
    here.release_collection("released")
    out = milvane(
        *("migrate", "--from", server.grpc_uri, "--to", bare_lite_uri),
        *("--collections", "kinds.*"),
        cwd=tmp_path,
    )
    assert out.returncode == 0, out.stdout + out.stderr
    there.use_database("kinds")
    for name in ("keyed", "made", "empty"):
        query = {"filter": "id > -1", "output_fields": ["id", "owner", "vector"]}
        assert sorted(map(str, there.query(name, **query))) == sorted(
            map(str, here.query(name, **query))
        )
        assert not there.describe_collection(name)["properties"].keys() & {"allow_insert_auto_id"}
    for client in (here, there):
        assert "NotLoad" in str(client.get_load_state("released")["state"])
        client.load_collection("released")
        assert client.query("released", output_fields=["count(*)"])[0]["count(*)"] == 20
        client.close()
