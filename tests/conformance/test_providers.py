"""Functions of remote providers through a real client and server, and a loopback provider."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import grpc
import numpy as np
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc, schema_pb2

from milvane.testing.provider_servers import (
    DIMENSION,
    ProviderServer,
    Reply,
    Trouble,
    vector_of,
)
from milvane.testing.servers import MilvaneProcess

KEY, OTHER_KEY = "sk-the-operators-own-key-1", "sk-the-operators-own-key-2"
MODELS = {"openai": "m", "tei": "", "dashscope": "text-embedding-v4"}
numbers = count()


def yaml_of(key: str) -> str:
    """Write the operator's `milvus.yaml`."""
    return f"""
credential:
  apikey_dev:
    apikey: {key}
function:
  textEmbedding:
    providers:
      openai: {{credential: apikey_dev}}
      dashscope: {{credential: APIKEY_DEV}}
      cohere: {{enable: false}}
"""


@dataclass
class Place:
    """A server, its operator's file, and the providers that it may call."""

    server: MilvaneProcess
    yaml: Path
    providers: dict[str, ProviderServer]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run one server for all tests of this file."""
    folder = tmp_path_factory.mktemp("providers")
    yaml = folder / "milvus.yaml"
    yaml.write_text(yaml_of(KEY))
    with ExitStack() as stack:
        providers = {name: stack.enter_context(ProviderServer(name)) for name in MODELS}
        trusted = [providers[name].url for name in ("openai", "dashscope")]
        # Without the cache, so that a provider is asked as often as a client asks.
        environment = {
            "MILVANE_PROVIDERS__TRUSTED_URLS": json.dumps(trusted),
            "MILVANE_CACHE__ENABLED": "false",
        }
        arguments = ("--milvus-yaml", str(yaml))
        server = stack.enter_context(
            MilvaneProcess(folder / "data", environment=environment, arguments=arguments)
        )
        yield Place(server, yaml, providers)


@pytest.fixture
def client(place: Place) -> Iterator[MilvusClient]:
    """Connect as a user does."""
    for provider in place.providers.values():
        provider.clear()
    client = MilvusClient(uri=place.server.grpc_uri)
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    """A collection name that nobody else uses."""
    return f"providers_{next(numbers)}"


def create(
    client: MilvusClient,
    name: str,
    params: dict[str, str],
    *,
    dimension: int = DIMENSION,
    properties: dict[str, str] | None = None,
) -> None:
    """Create a collection whose `dense` is filled from its `document`."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=1000)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimension)
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
    )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index, properties=properties)


def params_of(place: Place, provider: str, **more: str) -> dict[str, str]:
    """Name a provider and where it listens."""
    url = place.providers[provider].url
    return {"provider": provider, "model_name": MODELS[provider], "url": url, **more}


@pytest.mark.parametrize("provider", ["openai", "tei", "dashscope"])
def test_rows_and_questions_are_embedded_by_the_provider(
    place: Place, client: MilvusClient, name: str, provider: str
) -> None:
    """Raw text in, the provider's vectors stored; each distinct text is sent once, in batches."""
    server = place.providers[provider]
    create(client, name, params_of(place, provider))
    assert server.texts == [["check"]]
    server.clear()
    texts = [f"text {number}" for number in range(25)]
    rows = [{"id": i, "document": text} for i, text in enumerate([*texts, *texts])]
    client.insert(name, rows)
    assert sorted(text for batch in server.texts for text in batch) == sorted(texts)
    assert max(map(len, server.texts)) == (10 if provider == "dashscope" else 25)
    stored = client.get(name, ids=list(range(50)), output_fields=["id", "dense"])
    for row in stored:
        np.testing.assert_array_equal(row["dense"], vector_of(texts[row["id"] % 25]))
    (hits,) = client.search(name, ["text 7"], anns_field="dense", limit=2)
    assert {hit["id"] for hit in hits} == {7, 32}
    client.upsert(name, [{"id": 7, "document": "another"}])
    (hits,) = client.search(name, ["another"], anns_field="dense", limit=1)
    assert hits[0]["id"] == 7


def test_purpose_reaches_the_provider(place: Place, client: MilvusClient, name: str) -> None:
    """Rows are documents, and what is searched for is a query."""
    create(client, name, params_of(place, "dashscope"))
    client.insert(name, [{"id": 1, "document": "row"}])
    client.search(name, ["question"], anns_field="dense", limit=1)
    kinds = [
        request.body["parameters"]["text_type"] for request in place.providers["dashscope"].received
    ]
    assert kinds == ["document", "document", "query"]


def test_secret_is_sent_to_the_provider_and_seen_by_nobody(
    place: Place, client: MilvusClient, name: str
) -> None:
    """A label stands in the schema; the key is in the provider's header only, not in the log."""
    create(client, name, params_of(place, "openai", credential="ApiKey_Dev"))
    openai = place.providers["openai"]
    assert openai.received[0].headers["authorization"] == f"Bearer {KEY}"
    (function,) = client.describe_collection(name)["functions"]
    assert function["params"]["credential"] == "ApiKey_Dev"
    openai.play(Reply(401, f"bad key {KEY}".encode()))
    with pytest.raises(MilvusException) as caught:
        client.insert(name, [{"id": 1, "document": "a"}])
    assert "bad key ***" in caught.value.message
    assert KEY not in place.server.log.read_text()


def test_changed_file_counts_from_the_next_call(
    place: Place, client: MilvusClient, name: str
) -> None:
    """A key is exchanged without a restart."""
    create(client, name, params_of(place, "openai"))
    before = place.yaml.stat().st_mtime_ns
    place.yaml.write_text(yaml_of(OTHER_KEY))
    os.utime(place.yaml, ns=(before, before + 1_000_000))
    client.insert(name, [{"id": 1, "document": "a"}])
    headers = [request.headers["authorization"] for request in place.providers["openai"].received]
    place.yaml.write_text(yaml_of(KEY))
    os.utime(place.yaml, ns=(before, before + 2_000_000))
    assert headers == [f"Bearer {KEY}", f"Bearer {OTHER_KEY}"]


@pytest.mark.parametrize(
    ("provider", "trouble", "message"),
    [
        (
            "openai",
            Reply(400, b'{"error": "too long"}'),
            '[400 Bad Request, {"error": "too long"}]',
        ),
        ("tei", Trouble.BAD_JSON, "unmarshal response failed"),
        ("tei", Trouble.WRONG_COUNT, "the number of texts and embeddings does not match text:[1]"),
        ("dashscope", Trouble.WRONG_DIMENSION, "the required embedding dim is [8], but"),
    ],
)
def test_refusal_of_a_provider_reaches_the_client(
    place: Place,
    client: MilvusClient,
    name: str,
    provider: str,
    trouble: Reply | Trouble,
    message: str,
) -> None:
    """In its own words, with Milvus's code, and nothing is stored."""
    create(client, name, params_of(place, provider))
    place.providers[provider].play(trouble)
    with pytest.raises(MilvusException) as caught:
        client.insert(name, [{"id": 1, "document": "a"}])
    assert message in caught.value.message
    assert caught.value.code == 65535
    place.providers[provider].play(trouble)
    with pytest.raises(MilvusException, match=r"embedding|call service failed"):
        client.search(name, ["a"], anns_field="dense", limit=1)
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"provider": "nobody"}, "unsupported text embedding service provider: [nobody]"),
        ({"provider": "cohere"}, "text embedding model provider [cohere] is disabled"),
        ({"provider": "voyageai"}, "configure the MILVUS_VOYAGEAI_API_KEY environment variable"),
        ({"provider": "openai", "api_key": "sk-1"}, "looks like a raw key"),
        ({"provider": "openai", "credential": "other"}, "other is not a apikey crediential"),
        (
            {"provider": "tei", "endpoint": "http://unsupported_endpoint.invalid"},
            "unsupported_endpoint.invalid",
        ),
    ],
)
def test_function_that_cannot_work_creates_nothing(
    client: MilvusClient, name: str, params: dict[str, str], message: str
) -> None:
    """The check at creation names the function and what is wrong."""
    with pytest.raises(MilvusException) as caught:
        create(client, name, {"timeout_ms": "900", **params})
    assert "check function [embed:TextEmbedding] failed, the err is: " in caught.value.message
    assert message in caught.value.message
    assert caught.value.code == 65535
    assert not client.has_collection(name)


def test_wrong_dimension_is_found_at_creation(
    place: Place, client: MilvusClient, name: str
) -> None:
    """One real call shows what the model gives; the property skips it."""
    params = params_of(place, "tei")
    with pytest.raises(MilvusException) as caught:
        create(client, name, params, dimension=16)
    assert "check function [embed:TextEmbedding] failed, the err is: " in caught.value.message
    assert (
        "the required embedding dim is [16], but the embedding obtained from the model is [8]"
        in caught.value.message
    )
    place.providers["tei"].clear()
    skipping = {"disable_func_runtime_check": "true"}
    create(client, name, params, dimension=16, properties=skipping)
    assert not place.providers["tei"].received
    with pytest.raises(MilvusException, match="failed to parse disable_func_runtime_check param"):
        create(client, f"{name}_b", params, properties={"disable_func_runtime_check": "maybe"})


@pytest.mark.filterwarnings("ignore:.*is unsupported by Milvus 3.0")
def test_existing_function_moves_to_another_provider(
    place: Place, client: MilvusClient, name: str
) -> None:
    """The new one is checked with a real call, and takes over."""
    create(client, name, params_of(place, "tei"))
    moved = Function(
        "embed",
        FunctionType.TEXTEMBEDDING,
        ["document"],
        ["dense"],
        params=params_of(place, "openai"),
    )
    place.providers["openai"].play(Reply(404, b"no such model"))
    with pytest.raises(MilvusException, match="no such model"):
        client.alter_collection_function(name, "embed", moved)
    place.providers["openai"].clear()
    client.alter_collection_function(name, "embed", moved)
    client.insert(name, [{"id": 1, "document": "a"}])
    assert place.providers["openai"].texts == [["check"], ["a"]]


def test_sick_provider_holds_up_nobody_else(place: Place, client: MilvusClient, name: str) -> None:
    """While an insert waits for its provider another one passes; who leaves ends the waiting."""
    tei = place.providers["tei"]
    create(client, name, params_of(place, "tei"))
    create(client, f"{name}_b", params_of(place, "openai"))
    tei.abandoned.clear()
    tei.hanging.clear()
    tei.play(Trouble.HANG)
    request = milvus_pb2.InsertRequest(collection_name=name, num_rows=1)
    ids = request.fields_data.add(field_name="id", type=schema_pb2.DataType.Int64)
    ids.scalars.long_data.data.append(1)
    texts = request.fields_data.add(field_name="document", type=schema_pb2.DataType.VarChar)
    texts.scalars.string_data.data.append("a")
    with grpc.insecure_channel(place.server.grpc_uri.removeprefix("http://")) as channel:
        slow = milvus_pb2_grpc.MilvusServiceStub(channel).Insert.future(request)
        assert tei.hanging.wait(10)
        client.insert(f"{name}_b", [{"id": 1, "document": "a"}])
        (hits,) = client.search(f"{name}_b", ["a"], anns_field="dense", limit=1)
        assert hits[0]["id"] == 1
        assert slow.running()
        slow.cancel()
        assert tei.abandoned.wait(10), "the provider's connection is closed when the client leaves"
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 0
