"""The control plane and the ledger, seen by unmodified clients of one server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException

from milvane.testing.servers import MilvaneProcess

MODEL = "text-embedding-v4"


class Governed:
    """A server, and the command line beside it."""

    def __init__(self, folder: Path, server: MilvaneProcess) -> None:
        self.folder = folder
        self.server = server

    def milvane(self, *arguments: str) -> Any:
        """Run a verb of the command line; returns its JSON, if it prints any."""
        command = [sys.executable, "-m", "milvane.cli", *arguments, "--data-dir", str(self.folder)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout) if "--json" in arguments else run.stdout

    def key(self, tenant: str) -> tuple[str, str]:
        """Make a key; returns its id and its secret."""
        made = self.milvane("keys", "create", tenant, "--tenant", tenant, "--json")
        return made["key_id"], made["secret"]

    def milvus(self, token: str = "") -> MilvusClient:
        """Connect as somebody."""
        return MilvusClient(uri=self.server.grpc_uri, token=token)


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    """A server that folds and looks often."""
    folder = tmp_path_factory.mktemp("governed") / "data"
    quickly = {
        "MILVANE_METERING__FOLD_INTERVAL_S": "0.1",
        "MILVANE_CONTROL__POLL_INTERVAL_S": "0.1",
    }
    with MilvaneProcess(folder, environment=quickly) as server:
        yield Governed(folder, server)


@pytest.fixture(scope="module")
def collection(governed: Governed) -> str:
    """A collection with a function."""
    client = governed.milvus()
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=1000)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    schema.add_function(
        Function(
            name="embed",
            function_type=FunctionType.TEXTEMBEDDING,
            input_field_names=["document"],
            output_field_names=["dense"],
            params={"provider": "aliyun_milvus", "model_name": MODEL},
        )
    )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("articles", schema=schema, index_params=index)
    return "articles"


def repeat(call: Callable[[], object]) -> None:
    """Call until it fails: the server sees a change only when it looks for one."""
    while True:
        call()


def eventually(read: Any, expected: Any) -> None:
    """Read until it is as expected; the test's own time limit ends it."""
    while (found := read()) != expected:
        assert isinstance(found, type(expected))


def test_usage_is_told_apart_by_what_it_was_for(governed: Governed, collection: str) -> None:
    """Inserts, searches and calls of the HTTP API, with the key's tenant and the instance."""
    key_id, secret = governed.key("press")
    client = governed.milvus(secret)
    eventually(lambda: governed.milvane("keys", "list", "--json")[-1]["key_id"], key_id)
    client.insert(collection, [{"id": 1, "document": "one two three"}])
    client.search(collection, ["four five"], anns_field="dense", limit=1)
    api = openai.OpenAI(base_url=f"{governed.server.http_url}/v1", api_key=secret)
    used = api.embeddings.create(model=MODEL, input="six", dimensions=64).usage

    def read() -> dict[str, tuple[int, int]]:
        rows = governed.milvane("usage", "--by", "operation", "--tenant", "press", "--json")
        return {row["operation"]: (row["requests"], row["tokens"]) for row in rows}

    eventually(read, {"insert": (1, 3), "search": (1, 2), "api": (1, used.total_tokens)})
    by_instance = governed.milvane(
        "usage", "--by", "instance", "--tenant", "press", "--since", "1h", "--json"
    )
    assert {row["instance"]: row["tokens"] for row in by_instance} == {
        "embedded": 5,
        "-": used.total_tokens,
    }


def test_instance_without_an_association_is_told_so(governed: Governed, collection: str) -> None:
    """By the function that would use the service; the APIs still have it."""
    client = governed.milvus()
    governed.milvane("associations", "unbind", MODEL, "embedded")
    try:
        with pytest.raises(MilvusException, match=f"not associated.*{MODEL}"):
            repeat(lambda: client.insert(collection, [{"id": 2, "document": "text"}]))
        with pytest.raises(MilvusException, match="milvane associations bind"):
            client.search(collection, ["text"], anns_field="dense", limit=1)
        api = openai.OpenAI(base_url=f"{governed.server.http_url}/v1", api_key="any")
        assert api.embeddings.create(model=MODEL, input="six").data
    finally:
        governed.milvane("associations", "bind", MODEL, "embedded")


def test_spent_quota_is_a_rate_limit_in_each_dialect(governed: Governed, collection: str) -> None:
    """Each client's own error for it; another tenant goes on."""
    key_id, secret = governed.key("spender")
    governed.milvane("quotas", "set", "key", key_id, "--tokens-per-month", "4")
    api = openai.OpenAI(base_url=f"{governed.server.http_url}/v1", api_key=secret, max_retries=0)
    with pytest.raises(openai.RateLimitError) as refused:
        repeat(lambda: api.embeddings.create(model=MODEL, input="one two three four five"))
    assert f"tokens_per_month of key {key_id}" in refused.value.message
    assert int(refused.value.response.headers["retry-after"]) > 0
    client = governed.milvus(secret)
    with pytest.raises(MilvusException, match="tokens_per_month"):
        client.insert(collection, [{"id": 3, "document": "one two three four five"}], timeout=5)
    other = openai.OpenAI(base_url=f"{governed.server.http_url}/v1", api_key=governed.key("x")[1])
    assert other.embeddings.create(model=MODEL, input="one two three four five").data
