"""The native routes in front of the use case."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import Request, Response
from numpy.typing import NDArray

from milvane.apis.app import create_app
from milvane.apis.dashscope.ports import AsyncTasks
from milvane.apis.dashscope.routes import MULTIMODAL_PATH, TEXT_PATH
from milvane.apis.dashscope.wire import TextAnswer
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS
from milvane.domain.models import Lane, Platform, Purpose
from milvane.domain.readiness import Readiness
from milvane.domain.vectors import SparseVector
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, EmbedCall, HashingEngine

MODEL = "text-embedding-v4"
WEIGHTS = ALL_MINILM_L6_V2.name


@asynccontextmanager
async def client_with(
    settings: ApisSettings | None = None,
    *,
    tasks: AsyncTasks | None = None,
    weigher: CountingWeigher | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """Speak to an application with other settings, or tasks."""
    weights = {name: WEIGHTS for name in MODELS if MODELS[name].is_text_only}
    service = EmbeddingService(
        {WEIGHTS: HashingEngine()},
        ServingSettings(),
        weighers={WEIGHTS: weigher or CountingWeigher()},
        served_by=weights,
    )
    app = create_app(service, settings or ApisSettings(), Readiness, tasks=tasks)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://milvane"
    ) as client:
        yield client


def text_body(texts: Any, model: str = MODEL, **parameters: Any) -> dict[str, Any]:
    """Write a request."""
    return {"model": model, "input": {"texts": texts}, "parameters": parameters}


def contents_body(
    contents: Any, model: str = "qwen3-vl-embedding", **parameters: Any
) -> dict[str, Any]:
    """Write a request for contents."""
    return {"model": model, "input": {"contents": contents}, "parameters": parameters}


async def test_vectors_come_back_in_order(client: httpx.AsyncClient) -> None:
    """Each text's vector is its own, and the one that the other dialect gives."""
    answer = await client.post(TEXT_PATH, json=text_body(["b", "a", "b"]))
    parsed = TextAnswer.model_validate_json(answer.content)
    assert [item.text_index for item in parsed.output.embeddings] == [0, 1, 2]
    for item, text in zip(parsed.output.embeddings, ["b", "a", "b"], strict=True):
        alone = await client.post("/v1/embeddings", json={"model": MODEL, "input": text})
        assert item.embedding == alone.json()["data"][0]["embedding"]
    assert parsed.usage.total_tokens == 3
    assert parsed.request_id == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("output_type", "keys"),
    [
        ("dense", {"text_index", "embedding"}),
        ("sparse", {"text_index", "sparse_embedding"}),
        ("dense&sparse", {"text_index", "embedding", "sparse_embedding"}),
    ],
)
async def test_only_what_was_asked_for_is_there(
    client: httpx.AsyncClient, output_type: str, keys: set[str]
) -> None:
    """An absent vector is an absent key; null would break a client."""
    answer = await client.post(TEXT_PATH, json=text_body(["a b", "c"], output_type=output_type))
    for item in answer.json()["output"]["embeddings"]:
        assert set(item) == keys
        for term in item.get("sparse_embedding", []):
            assert set(term) == {"index", "value", "token"}
            assert 0 <= term["index"] < 2**32


class TermlessWeigher(CountingWeigher):
    """Finds no terms in any text."""

    def weigh(self, token_ids: NDArray[np.int32], purpose: Purpose) -> SparseVector:
        """Weigh nothing."""
        return super().weigh(token_ids[:0], purpose)


async def test_text_without_terms_has_an_empty_vector() -> None:
    """Nothing to weigh is an empty list, and the text keeps its place."""
    async with client_with(weigher=TermlessWeigher()) as client:
        answer = await client.post(TEXT_PATH, json=text_body(["!"], output_type="sparse"))
    assert answer.json()["output"]["embeddings"] == [{"text_index": 0, "sparse_embedding": []}]


async def test_query_reaches_the_terms(client: httpx.AsyncClient) -> None:
    """A query is weighed as a query, also where the client nests the parameter by mistake."""
    for parameters in ({"text_type": "query"}, {"kwargs": {"text_type": "query"}}):
        body = text_body(["a"], output_type="sparse", **parameters)
        answer = await client.post(TEXT_PATH, json=body)
        (item,) = answer.json()["output"]["embeddings"]
        assert item["sparse_embedding"][0]["value"] == 2.0


async def test_lane_and_dimension_reach_the_engine(
    client: httpx.AsyncClient, engine: HashingEngine
) -> None:
    """A small request runs ahead of bulk work, in the dimension asked for."""
    await client.post(TEXT_PATH, json=text_body(["a"], dimension="64"))
    assert engine.calls == [EmbedCall(texts=1, dimension=64, lane=Lane.INTERACTIVE)]


async def test_model_with_one_dimension_ignores_another(client: httpx.AsyncClient) -> None:
    """So do the hosted ones, and clients send it to all models alike."""
    body = text_body(["a"], model="text-embedding-v2", dimension=64)
    answer = await client.post(TEXT_PATH, json=body)
    assert len(answer.json()["output"]["embeddings"][0]["embedding"]) == 1536


async def test_cut_and_ignored_parameters_are_reported_with_the_usage(
    client: httpx.AsyncClient,
) -> None:
    """What the classic client shows of an answer says what was done to the request."""
    long = " ".join("x" * 2049)
    body = text_body(["a", long], model="text-embedding-v2", truncate=True, instruct="Find")
    answer = await client.post(TEXT_PATH, json=body)
    assert answer.json()["usage"] == {
        "total_tokens": 2049,
        "milvane": {"cut_inputs": [1], "ignored": ["instruct"]},
    }
    assert (await client.post(TEXT_PATH, json=text_body(["a"]))).json()["usage"] == {
        "total_tokens": 1
    }


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        (TEXT_PATH, text_body(["a"], "no-such"), 400, "InvalidParameter", "Model not exist."),
        (
            TEXT_PATH,
            text_body(["a"], "ops-text-embedding-001"),
            400,
            "InvalidParameter",
            "Model not exist.",
        ),
        (TEXT_PATH, text_body(["a", ""]), 400, "InvalidParameter", "[1, 8192]: input 1"),
        (
            TEXT_PATH,
            text_body(["a", " ".join("x" * 2049)], "text-embedding-v1"),
            400,
            "InvalidParameter",
            "[1, 2048]: input 1",
        ),
        (TEXT_PATH, text_body(["a"], dimension=63), 400, "InvalidParameter", "value shold be in"),
        (
            TEXT_PATH,
            text_body(["a"], "text-embedding-v2", output_type="sparse"),
            400,
            "InvalidParameter",
            "no sparse vectors",
        ),
        (TEXT_PATH, text_body(["a"] * 21), 400, "InvalidParameter", "larger than 20."),
        (
            TEXT_PATH,
            text_body(["a"], "text-embedding-async-v2"),
            403,
            "AccessDenied",
            "current user api does not support synchronous calls.",
        ),
        (
            TEXT_PATH,
            text_body(["a"], "qwen3-vl-embedding"),
            400,
            "InvalidParameter",
            "url error, please check url！",  # noqa: RUF001
        ),
        (
            MULTIMODAL_PATH,
            contents_body(["a"], MODEL),
            400,
            "InvalidParameter",
            "url error, please check url！",  # noqa: RUF001
        ),
        (
            MULTIMODAL_PATH,
            contents_body([{"image": "https://a/b.png"}]),
            503,
            "ModelUnavailable",
            "no weights here serve it",
        ),
    ],
)
async def test_refusals_say_why_and_cost_nothing(
    client: httpx.AsyncClient,
    engine: HashingEngine,
    path: str,
    body: dict[str, Any],
    status: int,
    code: str,
    words: str,
) -> None:
    """Each has its status, code and words, and nothing is embedded, not even its good inputs."""
    answer = await client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert words in answer.json()["message"]
    assert engine.calls == []


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (MODEL, 11, "it should not be larger than 10.: input.contents"),
        ("text-embedding-v2", 26, "it should not be larger than 25.: payload.input.contents"),
    ],
)
async def test_strict_limits_are_those_of_the_contract(model: str, inputs: int, words: str) -> None:
    """One more than the contract allows is refused in its words; exactly as many are not."""
    async with client_with(ApisSettings(strict_limits=True)) as client:
        answer = await client.post(TEXT_PATH, json=text_body(["a"] * inputs, model))
        assert (answer.status_code, words in answer.json()["message"]) == (400, True)
        fits = await client.post(TEXT_PATH, json=text_body(["a"] * (inputs - 1), model))
        assert fits.status_code == 200
        compatible = {"model": model, "input": ["a"] * inputs}
        assert (await client.post("/v1/embeddings", json=compatible)).status_code == 400
    async with client_with() as client:
        assert (await client.post(TEXT_PATH, json=text_body(["a"] * inputs, model))).is_success
        assert (await client.post("/v1/embeddings", json=compatible)).is_success


@pytest.mark.parametrize("alias", ["/api/v1", "/compatible-mode/v1"])
async def test_native_body_works_at_the_bare_addresses(
    client: httpx.AsyncClient, alias: str
) -> None:
    """A Milvus that is given such an address posts there as it is, and gets native errors."""
    good = await client.post(alias, json=text_body(["a"]))
    native = await client.post(TEXT_PATH, json=text_body(["a"]))
    assert good.json()["output"] == native.json()["output"]
    assert (await client.post(alias, json={})).json()["code"] == "BadRequest.EmptyModel"


class RecordedTasks:
    """Takes tasks, and remembers their bodies."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def submit(self, request: Request, content: bytes) -> Response:
        """Remember a body."""
        self.contents.append(content)
        return Response('{"output":{"task_status":"PENDING"}}', media_type="application/json")


async def test_asynchronous_requests_go_to_the_tasks() -> None:
    """The header decides, before the body is understood; without tasks it is refused."""
    headers = {"X-DashScope-Async": "enable"}
    tasks = RecordedTasks()
    async with client_with(tasks=tasks) as client:
        answer = await client.post(TEXT_PATH, content=b"{}", headers=headers)
    assert (answer.status_code, tasks.contents) == (200, [b"{}"])
    async with client_with() as client:
        answer = await client.post(TEXT_PATH, content=b"{}", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["message"] == "Current user api does not support asynchronous calls."


@pytest.mark.parametrize("path", ["/api/v1/models", "/api/v1/quotas", "/api/v1/models/limits"])
async def test_listings_are_paged(client: httpx.AsyncClient, path: str) -> None:
    """All pages together are the models of this API, once each; beyond the last there is none."""
    studio = [name for name in MODELS if MODELS[name].platform is Platform.MODEL_STUDIO]
    found: list[str] = []
    for page in range(1, 5):
        answer = await client.get(path, params={"page_no": page, "page_size": 3})
        output = answer.json()["output"]
        found += [item["model"] for item in output.get("models", output.get("quotas"))]
        assert (output["page_no"], output["page_size"], output["total"]) == (page, 3, len(studio))
    assert found == studio


async def test_listing_can_be_asked_for_one_model(client: httpx.AsyncClient) -> None:
    """One model is found by its name; another name finds nothing."""
    for name, total in ((MODEL, 1), ("no-such", 0)):
        answer = await client.get("/api/v1/models", params={"model": name, "page_size": 1})
        assert answer.json()["output"]["total"] == total


@pytest.mark.parametrize("number", ["0", "-1", "x", "", "9" * 5_000, "１"])  # noqa: RUF001
async def test_page_that_is_no_number_is_refused(client: httpx.AsyncClient, number: str) -> None:
    """The refusal names the parameter."""
    answer = await client.get("/api/v1/models", params={"page_no": number})
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert "page_no" in answer.json()["message"]
