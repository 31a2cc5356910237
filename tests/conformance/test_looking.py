"""What the management API sees of instances that unmodified clients have filled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient

from milvane.testing.servers import MilvaneProcess

MODEL = "text-embedding-v4"
INSTANCES = ("embedded", "elsewhere")
TEXTS = ["a red apple", "a ship at sea", "a symphony in four movements"]
FIRST_ID = 2**60
"""Too large for JavaScript's numbers."""


@pytest.fixture(scope="module")
def operator(
    bare_lite_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """An operator of a server with an embedded and a remote instance, each with a collection."""
    folder = tmp_path_factory.mktemp("looking")
    config = folder / "milvane.toml"
    config.write_text(
        f"""
        [metering]
        fold_interval_s = 0.1

        [access]
        users = {{ root = "a secret of ours" }}

        [[instances]]
        name = "embedded"

        [[instances]]
        name = "elsewhere"
        uri = "{bare_lite_uri}"
        grpc_port = 0
        token = "root:Milvus"
        """
    )
    with MilvaneProcess(folder / "data", arguments=("--config", str(config))) as server:
        elsewhere = re.search(r"elsewhere on (http://[\d.:]+)", server.ready_line)
        assert elsewhere
        for uri in (server.grpc_uri, elsewhere[1]):
            fill(uri)
        with httpx.Client(base_url=f"{server.http_url}/manage/v1", timeout=30) as client:
            sign_in(client, folder / "data")
            client.headers["x-embedded"] = server.grpc_uri  # where a client of Milvus goes
            yield client


def fill(uri: str) -> None:
    """Create a collection with fields that functions fill, and others."""
    client = MilvusClient(uri=uri, token="root:a secret of ours")
    schema = client.create_schema(description="goods")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=200, enable_analyzer=True)
    schema.add_field("price", DataType.INT64)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=256)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    params = {"provider": "aliyun_milvus", "model_name": MODEL, "dim": "256"}
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
    )
    schema.add_function(Function("count", FunctionType.BM25, ["document"], ["words"]))
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    index.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection("looked_at", schema=schema, index_params=index)
    rows = [
        {"id": FIRST_ID + number, "document": text, "price": number}
        for number, text in enumerate(TEXTS)
    ]
    client.insert("looked_at", rows)
    client.close()


def sign_in(client: httpx.Client, data_dir: Path) -> None:
    """Begin a session as the console does."""
    password = (data_dir / "admin-password.txt").read_text().strip()
    reply = client.post("/session", json={"name": "admin", "password": password})
    client.headers["x-csrf-token"] = reply.json()["csrf_token"]


@pytest.mark.parametrize("instance", INSTANCES)
def test_fields_are_shown_with_what_fills_them(operator: httpx.Client, instance: str) -> None:
    """Alike for every kind of instance: which function, of which texts, by which model."""
    page = operator.get(f"/instances/{instance}/collections").json()
    [found] = [each for each in page["collections"] if each["name"] == "looked_at"]
    assert page["total"] == len(page["collections"])
    assert "default" in page["databases"]
    assert (found["description"], found["rows"], found["is_loaded"]) == ("goods", 3, True)
    fields = {each["name"]: each for each in found["fields"]}
    assert fields["id"]["is_primary"]
    assert fields["price"] == {
        "name": "price",
        "type": "Int64",
        "is_primary": False,
        "dimension": None,
        "filled_by": None,
    }
    assert fields["dense"]["dimension"] == 256
    assert fields["dense"]["filled_by"] == {
        "function": "embed",
        "kind": "TextEmbedding",
        "inputs": ["document"],
        "provider": "aliyun_milvus",
        "model": MODEL,
    }
    assert fields["words"]["filled_by"]["kind"] == "BM25"
    assert fields["words"]["filled_by"]["model"] == ""


def test_collections_are_shown_by_pages_and_by_name(operator: httpx.Client) -> None:
    """Also those beyond the first page; of any database."""
    client = MilvusClient(uri=operator.headers["x-embedded"], token="root:a secret of ours")
    client.create_database("side")
    client.use_database("side")
    for number in range(3):
        client.create_collection(f"Part_{number}", dimension=4)
    client.close()
    path = "/instances/embedded/collections?database=side"

    def names(query: str = "") -> tuple[list[str], int]:
        page = operator.get(path + query).json()
        return [each["name"] for each in page["collections"]], page["total"]

    assert names() == (["Part_0", "Part_1", "Part_2"], 3)
    assert names("&offset=2&limit=2") == (["Part_2"], 3)
    assert names("&contains=part_1") == (["Part_1"], 1)
    assert names("&contains=nothing") == ([], 0)
    assert operator.get(f"{path}&limit=201").status_code == 400
    assert operator.get("/instances/embedded/collections?database=none").status_code == 502


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("field", ["dense", "words"])
def test_question_finds_rows(operator: httpx.Client, instance: str, field: str) -> None:
    """Best first, with the row's values but no vectors; large integers keep every digit."""
    question = {
        "instance": instance,
        "collection": "looked_at",
        "field": field,
        "text": "a symphony in the concert hall",
        "filter": "price > 0",
        "limit": 2,
    }
    reply = operator.post("/playground/search", json=question)
    assert reply.status_code == 200, reply.text
    best, *others = reply.json()["hits"]
    assert best["values"] == {"id": str(FIRST_ID + 2), "document": TEXTS[2], "price": "2"}
    if field == "dense":  # the sign of a score for words is the upstream's own
        assert all(best["score"] >= other["score"] for other in others)


def usage(operator: httpx.Client, instance: str) -> set[str]:
    """Say what the operator's calls through an instance were part of."""
    path = f"/usage?since=1h&group_by=operation&caller=admin&instance={instance}&step=1m"
    return {curve["group"] for curve in operator.get(path).json()["curves"]}


def test_search_from_the_playground_is_counted(operator: httpx.Client) -> None:
    """As a search of that instance, made by the operator."""
    question = {"instance": "elsewhere", "collection": "looked_at", "field": "dense", "text": "sea"}
    operator.post("/playground/search", json=question).raise_for_status()
    while "search" not in usage(operator, "elsewhere"):  # until the journal is folded
        continue
    assert "admin" in operator.get("/usage/names").json()["callers"]


@pytest.mark.parametrize(
    ("change", "status", "part"),
    [
        ({"collection": "nothing"}, 404, "nothing"),
        ({"instance": "nowhere"}, 404, "nowhere"),
        ({"field": "nothing"}, 502, "nothing"),
        ({"filter": "price >"}, 502, "price"),
        ({"limit": 0}, 400, "limit"),
    ],
)
def test_question_that_cannot_be_asked_is_told_why(
    operator: httpx.Client, change: dict[str, Any], status: int, part: str
) -> None:
    """In the words of whoever refuses it."""
    question = {"instance": "embedded", "collection": "looked_at", "field": "dense", "text": "sea"}
    reply = operator.post("/playground/search", json=question | change)
    assert reply.status_code == status, reply.text
    assert part in reply.json()["error"]["message"]


def test_settings_hide_what_is_secret(operator: httpx.Client) -> None:
    """Passwords and tokens are asterisks; everything else is there to be read."""
    reply = operator.get("/settings")
    for secret in ("a secret of ours", "root:Milvus"):
        assert secret not in reply.text
    values = {each["key"]: each for each in reply.json()["settings"]}
    assert values["access.users"]["is_default"] is False
    assert "***" in values["access.users"]["value"]
    assert "***" in values["instances.elsewhere.token"]["value"]
    assert values["metering.fold_interval_s"] == {
        "key": "metering.fold_interval_s",
        "value": "0.1",
        "is_default": False,
    }
    assert values["server.patience_s"]["is_default"] is True


def test_running_server_is_shown(operator: httpx.Client) -> None:
    """Its health, its ports, the weights that it runs and what they did."""
    server = operator.get("/server").json()
    assert (server["is_ready"], server["reasons"]) == (True, [])
    assert sorted(server["instance_ports"]) == sorted(INSTANCES)
    models = operator.get("/models").json()
    engine = {each["weights"]: each for each in models["engines"]}["all-minilm-l6-v2"]
    assert engine["width"] == 384
    assert engine["passes"] >= 1
    assert engine["tokens"] <= engine["padded_tokens"]
    served = {each["model"]: each for each in models["models"]}
    assert served[MODEL]["requests"] >= 1
    assert served["qwen3-vl-embedding"]["weights"] == "embedded-pictures"
    assert models["cache"]["computed"] >= 1
