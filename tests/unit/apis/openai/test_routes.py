"""The dialect's routes in front of the use case."""

import httpx
import numpy as np
import pytest

from milvane.domain.catalogue import MODELS, SERVED_BY
from milvane.domain.models import Lane
from milvane.testing.engines import EmbedCall, HashingEngine

MODEL = "text-embedding-v4"


async def test_vectors_come_back_in_order(client: httpx.AsyncClient) -> None:
    """Each input's vector is its own, wherever it stands and however often."""
    together = await client.post("/v1/embeddings", json={"model": MODEL, "input": ["b", "a", "b"]})
    data = together.json()["data"]
    assert [item["index"] for item in data] == [0, 1, 2]
    for item, text in zip(data, ["b", "a", "b"], strict=True):
        alone = await client.post("/v1/embeddings", json={"model": MODEL, "input": text})
        assert item["embedding"] == alone.json()["data"][0]["embedding"]


async def test_dimensions_are_honoured(client: httpx.AsyncClient) -> None:
    """Vectors are as wide as asked, else as the model's default; of length 1 in both cases."""
    for dimension, body in ((64, {"dimensions": 64}), (1024, {}), (1024, {"dimension": "64"})):
        answer = await client.post("/v1/embeddings", json={"model": MODEL, "input": "a", **body})
        vector = answer.json()["data"][0]["embedding"]
        assert len(vector) == dimension
        assert np.isclose(np.linalg.norm(vector), 1, atol=1e-6)


async def test_usage_counts_every_input(client: httpx.AsyncClient) -> None:
    """A repeated input counts as often as it is sent."""
    answer = await client.post(
        "/v1/embeddings", json={"model": MODEL, "input": ["a b", "c", "a b"]}
    )
    assert answer.json()["usage"] == {"prompt_tokens": 5, "total_tokens": 5}


async def test_time_that_a_client_waits_reaches_the_engine(
    client: httpx.AsyncClient, engine: HashingEngine
) -> None:
    """OpenAI's clients say how long they wait: work for an answer that comes later is not done."""
    body = {"model": MODEL, "input": "a"}
    waiting = {"x-stainless-read-timeout": "30"}
    answer = await client.post("/v1/embeddings", json=body, headers=waiting)
    assert answer.status_code == 200
    (left_s,) = engine.times_left_s
    assert left_s is not None
    assert 29 < left_s <= 30


@pytest.mark.parametrize(("inputs", "lane"), [(8, Lane.INTERACTIVE), (9, Lane.BULK)])
async def test_lane_reaches_the_engine(
    client: httpx.AsyncClient, engine: HashingEngine, inputs: int, lane: Lane
) -> None:
    """A small request runs ahead of bulk work."""
    texts = [str(number) for number in range(inputs)]
    await client.post("/v1/embeddings", json={"model": MODEL, "input": texts, "dimensions": 64})
    assert engine.calls == [EmbedCall(texts=inputs, dimension=64, lane=lane)]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "no-such", "input": "a"},
        {"model": MODEL, "input": ["a", ""]},
        {"model": MODEL, "input": "a", "dimensions": 63},
        {"model": MODEL, "input": "a", "dimensions": 2049},
        {"model": MODEL, "input": ["a", " ".join("x" * 8193)]},
        {"model": MODEL, "input": ["a"] * 21},
        {"model": MODEL, "input": [[1]]},
        {"model": MODEL, "input": "a", "encoding_format": "hex"},
    ],
)
async def test_refusals_cost_nothing(
    client: httpx.AsyncClient, engine: HashingEngine, body: dict[str, object]
) -> None:
    """A request that is refused embeds nothing, not even its good inputs."""
    answer = await client.post("/v1/embeddings", json=body)
    assert answer.status_code in {400, 404}
    assert engine.calls == []


async def test_id_of_the_answer_is_the_id_of_the_request(client: httpx.AsyncClient) -> None:
    """One id names the request in the header, in an answer and in a refusal."""
    headers = {"x-request-id": "mine"}
    good = await client.post("/v1/embeddings", json={"model": MODEL, "input": "a"}, headers=headers)
    bad = await client.post("/v1/embeddings", json={"model": MODEL}, headers=headers)
    assert good.json()["id"] == bad.json()["id"] == bad.json()["request_id"] == "mine"
    assert good.headers["x-request-id"] == bad.headers["x-request-id"] == "mine"


async def test_models_are_those_of_the_catalogue(client: httpx.AsyncClient) -> None:
    """The list and each single model agree, and name their weights."""
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [card["id"] for card in listed["data"]] == list(MODELS)
    for card in listed["data"]:
        assert card["milvane"]["weights"] == SERVED_BY.get(card["id"])
        assert (await client.get(f"/v1/models/{card['id']}")).json() == card


async def test_model_name_with_a_slash_is_a_model_name(client: httpx.AsyncClient) -> None:
    """A name as model hubs write it is refused as a model, not as a path."""
    answer = await client.get("/v1/models/Qwen/Qwen3-Embedding-8B")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "model", ["text-embedding-async-v2", "qwen3-vl-embedding", "ops-text-sparse-embedding-001"]
)
async def test_models_of_other_apis_are_refused_in_the_documented_words(
    client: httpx.AsyncClient, model: str
) -> None:
    """What works only in the background, on images or without dense vectors is not for here."""
    answer = await client.post("/v1/embeddings", json={"model": model, "input": "a"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "ModelNotFound")
    assert error["message"] == f"Unsupported model {model} for OpenAI compatibility mode."


async def test_text_services_of_ai_search_are_models_here(client: httpx.AsyncClient) -> None:
    """The documents offer them under this dialect too."""
    body = {"model": "ops-text-embedding-002", "input": ["a", "b"]}
    answer = await client.post("/compatible-mode/v1/embeddings", json=body)
    assert [len(item["embedding"]) for item in answer.json()["data"]] == [1024, 1024]


async def test_truncate_cuts_and_is_reported(client: httpx.AsyncClient) -> None:
    """A caller may have long inputs cut instead of refused, and is told which were."""
    body = {"model": MODEL, "input": ["a", " ".join("x" * 8193)], "truncate": True}
    answer = await client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200
    assert answer.json()["milvane"] == {"cut_inputs": [1]}
    assert answer.json()["usage"]["total_tokens"] == 8193
