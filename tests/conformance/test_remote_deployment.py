"""A server whose weights run on another Milvane, by its unmodified OpenAI dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import numpy as np
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.inference.weights import folder_of
from milvane.testing.servers import MilvaneProcess
from weights import default_weights_dir

MODEL = "text-embedding-v4"
KEY = "key-of-the-other-server"
TEXTS = [
    "What does the invoice say?",
    "I do not know , isn't it ? 'tis #hashtag ##twice ...",
    "猫は一日の大半を眠って過ごす。",
    "naïve CAFÉ, 😀 and \u200b nothing; x²+y²",
    "word " * 300,
]
LONG = "Embedding services turn texts into vectors, whatever their length may be. " * 120


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[MilvaneProcess, MilvaneProcess]]:
    """One that runs the weights of a folder, and one that has the first run them."""
    folder = tmp_path_factory.mktemp("remote")
    whole, bare = folder / "whole", folder / "bare"
    for each in (whole, bare):
        each.mkdir()
        for file in ("config.json", "tokenizer.json", "model.safetensors"):
            if each is whole or file != "model.safetensors":
                source = folder_of(ALL_MINILM_L6_V2, default_weights_dir()) / file
                (each / file).symlink_to(source)
    with ExitStack() as stack:
        there = stack.enter_context(
            MilvaneProcess(
                folder / "there",
                environment={
                    "MILVANE_DEPLOYMENTS": json.dumps({"*": str(whole)}),
                    "MILVANE_ACCESS__API_KEYS": json.dumps([KEY]),
                },
            )
        )
        remote = {
            "urls": [there.http_url], "dialect": "openai", "weights": str(bare),
            "model": MODEL, "api_key": KEY, "ask_dimension": True, "health_interval_s": 0.1,
        }  # fmt: skip
        here = stack.enter_context(
            MilvaneProcess(
                folder / "here",
                environment={
                    "MILVANE_INFERENCE__REMOTE": json.dumps({"other": remote}),
                    "MILVANE_DEPLOYMENTS": json.dumps({"*": "other"}),
                },
            )
        )
        yield there, here


def embed(server: MilvaneProcess, texts: list[str]) -> np.ndarray:
    """Embed texts through the `openai` package."""
    with openai.OpenAI(base_url=f"{server.http_url}/v1", api_key=KEY, max_retries=0) as client:
        answer = client.embeddings.create(model=MODEL, input=texts, dimensions=384)
    return np.array([item.embedding for item in answer.data])


def test_vectors_are_those_of_the_other_server(
    servers: tuple[MilvaneProcess, MilvaneProcess],
) -> None:
    """Texts of any script have the same vectors; long ones nearly, cut within words or not."""
    there, here = servers
    cosines = np.einsum("ij,ij->i", embed(there, TEXTS), embed(here, TEXTS))
    assert cosines.min() >= 0.9999
    [cosine] = np.einsum("ij,ij->i", embed(there, [LONG]), embed(here, [LONG]))
    assert cosine >= 0.99


def test_other_server_is_shown_in_the_metrics(
    servers: tuple[MilvaneProcess, MilvaneProcess],
) -> None:
    """What it was sent and how it stands is there under its address, and its key is not."""
    there, here = servers
    embed(here, TEXTS)
    page = httpx.get(f"{here.http_url}/metrics").text
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels.get("replica") == there.http_url
        and sample.labels["weights"] == "other"
        and sample.labels.get("condition", "ready") == "ready"
    }
    assert found["milvane_replica_requests_total"] >= 1
    assert found["milvane_replica_request_duration_seconds_count"] >= 1
    assert found["milvane_replica_condition"] == 1
    assert found["milvane_replica_outstanding"] == 0
    assert KEY not in page


def test_loss_of_the_other_server_is_told_and_mended(
    servers: tuple[MilvaneProcess, MilvaneProcess],
) -> None:
    """Without the other server, callers and probes hear so; with it again, all is well."""
    there, here = servers
    ready = f"{here.http_url}/health/ready"
    assert httpx.get(ready).status_code == 200
    there.kill()
    with pytest.raises(openai.InternalServerError, match="no server that runs these weights"):
        embed(here, ["one"])
    answer = httpx.get(ready)
    assert answer.status_code == 503
    assert there.http_url in answer.text
    assert KEY not in answer.text + here.log.read_text()
    there.start()
    while httpx.get(ready).status_code != 200:
        pass
    assert embed(here, ["one"]).shape == (1, 384)
