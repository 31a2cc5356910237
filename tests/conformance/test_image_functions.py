"""Embedding functions of models that take images: a real client, a real server, and its weights."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import numpy as np
import pytest
from pymilvus import (
    AnnSearchRequest,
    Collection,
    DataType,
    Function,
    FunctionType,
    MilvusClient,
    MilvusException,
    RRFRanker,
    connections,
)

from colours import data_uri
from drawing import as_jpeg, as_png, draw_bananas, draw_oranges
from media_shops import oss2
from milvane.testing.servers import MilvaneProcess

numbers = count()
BANANAS = data_uri(as_jpeg(draw_bananas(2)), "image/jpeg")
ORANGES = data_uri(as_jpeg(draw_oranges(2)), "image/jpeg")
GONE = "http://127.0.0.1:9/a.png"


@pytest.fixture
def client(server: MilvaneProcess) -> Iterator[MilvusClient]:
    """A client of the newest pymilvus."""
    client = MilvusClient(uri=server.grpc_uri)
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    """A collection name that nobody else uses."""
    return f"images_{next(numbers)}"


def create(
    client: MilvusClient,
    name: str,
    model: str = "qwen3-vl-embedding",
    dimension: int = 1024,
    **params: str,
) -> None:
    """Make a collection whose `url` is seen by a model, and whose `document` is read by another."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("url", DataType.VARCHAR, max_length=65535)
    schema.add_field("document", DataType.VARCHAR, max_length=1000)
    schema.add_field("seen", DataType.FLOAT_VECTOR, dim=dimension)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    for function, field, output, bound, told in (
        ("see", "url", "seen", model, {"dim": str(dimension), **params}),
        ("read", "document", "dense", "text-embedding-v4", {}),
    ):
        schema.add_function(
            Function(
                name=function,
                function_type=FunctionType.TEXTEMBEDDING,
                input_field_names=[field],
                output_field_names=[output],
                params={"provider": "aliyun_milvus", "model_name": bound, **told},
            )
        )
    index = client.prepare_index_params()
    for field in ("seen", "dense"):
        index.add_index(field_name=field, index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


def rows(*urls: str) -> list[dict[str, Any]]:
    """Write rows of these values, each with a text of its own."""
    texts = ["fruit that monkeys like", "a drink for breakfast", "the orbit of Mars"]
    return [
        {"id": number, "url": url, "document": texts[number % 3]} for number, url in enumerate(urls)
    ]


@pytest.mark.parametrize(
    ("model", "dimension"),
    [
        ("qwen3-vl-embedding", 256),
        ("multimodal-embedding-v1", 1024),
        ("ops-m2-encoder", 768),
        ("ops-gme-qwen2-vl-2b-instruct", 1536),
    ],
)
def test_every_model_finds_pictures_and_texts(
    client: MilvusClient, name: str, model: str, dimension: int
) -> None:
    """Pictures and texts are rows of one field; each finds itself first, with similarity 1."""
    create(client, name, model, dimension)
    client.insert(name, rows(BANANAS, ORANGES, "the orbit of Mars"))
    stored = client.get(name, [0, 1, 2], output_fields=["seen"])
    norms = [np.linalg.norm(row["seen"]) for row in stored]
    assert np.allclose(norms, 1, atol=1e-5)
    found = client.search(name, [BANANAS, ORANGES, "the orbit of Mars"], anns_field="seen", limit=1)
    assert [hits[0]["id"] for hits in found] == [0, 1, 2]
    assert all(hits[0]["distance"] > 0.9999 for hits in found)


def test_upsert_hybrid_and_iterator_see_pictures(client: MilvusClient, name: str) -> None:
    """Whatever takes a text takes the address of a picture too."""
    create(client, name)
    client.insert(name, rows(BANANAS, ORANGES, "the orbit of Mars"))
    client.upsert(name, {"id": 1, "url": BANANAS, "document": "changed"})
    (hits,) = client.search(name, [BANANAS], anns_field="seen", limit=2)
    assert {hit["id"] for hit in hits} == {0, 1}
    parts = [
        AnnSearchRequest([BANANAS], "seen", {}, limit=3),
        AnnSearchRequest(["which fruit do monkeys like?"], "dense", {}, limit=3),
    ]
    (both,) = client.hybrid_search(name, parts, RRFRanker(), limit=1)
    assert both[0]["id"] == 0
    iterator = client.search_iterator(
        name, data=[BANANAS], anns_field="seen", batch_size=2, limit=3
    )
    found = []
    while page := iterator.next():
        found += [hit["id"] for hit in page]
    iterator.close()
    assert sorted(found) == [0, 1, 2]
    assert found[2] == 2


def test_a_bad_row_is_named_and_changes_nothing(client: MilvusClient, name: str) -> None:
    """The whole insert is refused, in words that say where the bad value is."""
    create(client, name)
    with pytest.raises(MilvusException) as caught:
        client.insert(name, rows(BANANAS, GONE))
    assert caught.value.message.endswith(": function see, field url, row 1")
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 0
    with pytest.raises(MilvusException, match="function see, field seen, query 0"):
        client.search(name, [GONE], anns_field="seen", limit=1)


@pytest.mark.filterwarnings("ignore:.*ORM-style")
def test_rows_may_be_left_out(server: MilvaneProcess, client: MilvusClient, name: str) -> None:
    """With `on_error: skip` the others are written, and the client is told which were not."""
    create(client, name, on_error="skip")
    answer = client.insert(name, rows(GONE, BANANAS, GONE, ORANGES))
    assert (answer["insert_count"], list(answer["ids"])) == (2, [1, 3])
    found = client.query(name, filter="id >= 0", output_fields=["id", "document"])
    assert [(row["id"], row["document"]) for row in found] == [
        (1, "a drink for breakfast"),
        (3, "fruit that monkeys like"),
    ]
    connections.connect(alias=name, uri=server.grpc_uri)
    columns = [[7, 8], [GONE, BANANAS], ["a", "b"]]
    told = Collection(name, using=name).insert(columns)
    assert (list(told.succ_index), list(told.err_index)) == ([1], [0])
    connections.disconnect(name)


def test_rest_sees_pictures(server: MilvaneProcess, client: MilvusClient, name: str) -> None:
    """The HTTP API of Milvus inserts and searches with them."""
    create(client, name)
    base = server.grpc_uri + "/v2/vectordb/entities"
    inserted = httpx.post(
        f"{base}/insert", json={"collectionName": name, "data": rows(BANANAS, ORANGES)}, timeout=30
    ).json()
    assert (inserted["code"], inserted["data"]["insertCount"]) == (0, 2)
    asked = {"collectionName": name, "data": [ORANGES], "annsField": "seen", "limit": 1}
    found = httpx.post(f"{base}/search", json=asked, timeout=30).json()
    assert found["data"][0]["id"] == 1
    refused = httpx.post(
        f"{base}/insert", json={"collectionName": name, "data": rows(GONE)}, timeout=30
    ).json()
    assert refused["code"] == 65535
    assert refused["message"].endswith("function see, field url, row 0")


def test_one_image_under_two_addresses_is_embedded_once(
    server: MilvaneProcess, client: MilvusClient, name: str
) -> None:
    """Another signature of the same object, and another object of the same bytes, are known."""
    data_dir = server.log.with_suffix("")
    command = ["-m", "milvane.cli", "media", "keys", "create", name, "--data-dir", data_dir]
    made = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ,
    )
    keys = dict(line.split("=", 1) for line in made.stdout.split())
    auth = oss2.Auth(keys["OSS_ACCESS_KEY_ID"], keys["OSS_ACCESS_KEY_SECRET"])
    bucket = oss2.Bucket(auth, server.http_url, "pictures")
    content = as_png(draw_bananas(3, ground=(10, 80, 120)))
    for key in ("a.png", "b.png"):
        bucket.put_object(key, content)
    urls = [
        bucket.sign_url("GET", "a.png", 600),
        bucket.sign_url("GET", "a.png", 1200),
        bucket.sign_url("GET", "b.png", 600),
    ]
    create(client, name, "multimodal-embedding-v1")
    before = computed(server)
    for url in urls:
        client.insert(name, [{"id": len(url), "url": url, "document": "fruit"}])
    assert computed(server) - before <= 2  # the image, and the text beside it
    answer = httpx.post(
        f"{server.http_url}/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding",
        json={"model": "multimodal-embedding-v1", "input": {"contents": [{"image": urls[0]}]}},
        timeout=30,
    )
    assert answer.json()["usage"]["image_count"] == 1
    assert answer.headers["x-milvane-weights"] == "embedded-pictures"
    assert computed(server) - before <= 2


def computed(server: MilvaneProcess) -> int:
    """Read how many vectors were not known."""
    shown = httpx.get(f"{server.http_url}/metrics", timeout=30).text
    (found,) = re.findall(r'milvane_cache_vectors_total{source="computed"} (\S+)', shown)
    return int(float(found))
