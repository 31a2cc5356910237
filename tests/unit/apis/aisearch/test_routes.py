"""The AI Search routes in front of the use case."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from starlette.exceptions import HTTPException

from colours import ColourEngine, DataReader, an_image, colour_service, data_uri
from milvane.apis.aisearch.errors import TABLE, answer_error, answer_http_refusal
from milvane.apis.aisearch.translate import MAX_BODY_BYTES
from milvane.apis.aisearch.wire import ErrorAnswer, MultimodalAnswer, SparseAnswer, TextAnswer
from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS
from milvane.domain.errors import ErrorKind, ModelNotFound, QuotaExceeded, RateExceeded
from milvane.domain.models import ModelName, Output, Platform
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

WORKSPACE = "/v3/openapi/workspaces/default"
TEXT = f"{WORKSPACE}/text-embedding/ops-text-embedding-001"
SPARSE = f"{WORKSPACE}/text-sparse-embedding/ops-text-sparse-embedding-001"
MULTIMODAL = f"{WORKSPACE}/multi-modal-embedding"
WEIGHTS = ALL_MINILM_L6_V2.name
BLUE = data_uri(an_image("blue"))
TEXT_SERVICES = [
    model
    for model in MODELS.values()
    if model.platform is Platform.AI_SEARCH and model.is_text_only and Output.DENSE in model.outputs
]


@asynccontextmanager
async def client_with(
    settings: ApisSettings | None = None, *, now_s: float = 0.0
) -> AsyncIterator[httpx.AsyncClient]:
    """Speak to an application with other settings, a stopped clock, and engines for everything."""
    service = colour_service(ColourEngine(), DataReader())
    app = create_app(service, settings or ApisSettings(), Readiness, clock=lambda: now_s)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://milvane"
    ) as client:
        yield client


@pytest.mark.parametrize("model", TEXT_SERVICES, ids=lambda model: model.name)
async def test_every_text_service_embeds(client: httpx.AsyncClient, model) -> None:
    """Vectors have the documented dimension and come in order; tokens and time are told."""
    path = f"{WORKSPACE}/text-embedding/{model.name}"
    answer = await client.post(path, json={"input": ["b", "a b"]})
    parsed = TextAnswer.model_validate_json(answer.content)
    assert [item.index for item in parsed.result.embeddings] == [0, 1]
    assert {len(item.embedding) for item in parsed.result.embeddings} == {model.default_dimension}
    assert parsed.usage.token_count == 3
    assert parsed.latency >= 0
    assert parsed.request_id == answer.headers["x-request-id"]


async def test_single_text_and_any_workspace_are_taken(client: httpx.AsyncClient) -> None:
    """A text need not be in a list, and the workspace is a name."""
    alone = await client.post(TEXT, json={"input": "a", "input_type": "query"})
    listed = await client.post(TEXT.replace("default", "mine"), json={"input": ["a"]})
    assert alone.json()["result"] == listed.json()["result"]


async def test_terms_have_their_text_only_where_asked_for(client: httpx.AsyncClient) -> None:
    """Ids and weights always, tokens on request; a query weighs otherwise."""
    answer = await client.post(SPARSE, json={"input": ["a b a"], "return_token": True})
    parsed = SparseAnswer.model_validate_json(answer.content)
    (item,) = parsed.result.sparse_embeddings
    assert sorted(term.weight for term in item.embedding) == [1.0, 1.0, 1.0]
    assert all(term.token == f"#{term.token_id}" for term in item.embedding)
    assert parsed.usage.token_count == 3
    bare = await client.post(SPARSE, json={"input": "a", "input_type": "query"})
    (item,) = bare.json()["result"]["sparse_embeddings"]
    assert [set(term) for term in item["embedding"]] == [{"token_id", "weight"}]
    assert item["embedding"][0]["weight"] == 2.0


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        (TEXT, {}, 400, "InvalidParameter", "JSON parse error: Field required at input"),
        (TEXT, {"input": 3}, 400, "InvalidParameter", "JSON parse error"),
        (TEXT, {"input": ["a", 3]}, 400, "InvalidParameter", "at input.1"),
        (TEXT, {"input": "a", "input_type": "xxx"}, 400, "InvalidParameter", "at input_type"),
        (TEXT, {"input": []}, 400, "InvalidParameter", "empty list"),
        (TEXT, {"input": ["a", ""]}, 400, "InvalidParameter", "input 1 is an empty string"),
        (TEXT, {"input": [" ".join("x" * 301)]}, 400, "InvalidParameter", "takes at most 300"),
        (TEXT, {"input": ["a"] * 21}, 400, "InvalidParameter", "at most 20"),
        (TEXT.replace("001", "009"), {"input": "a"}, 400, "ServiceIdNotExist", "service_id is not"),
        (
            f"{WORKSPACE}/text-embedding/text-embedding-v4",
            {"input": "a"},
            400,
            "ServiceIdNotExist",
            "service_id is not exist.",
        ),
        (
            f"{WORKSPACE}/text-embedding/ops-text-sparse-embedding-001",
            {"input": "a"},
            400,
            "ServiceIdNotExist",
            "service_id is not exist.",
        ),
        (
            f"{MULTIMODAL}/ops-m2-encoder",
            {"input": [{"image": "https://a/b.png"}]},
            503,
            "ModelUnavailable",
            "no weights here serve it",
        ),
        (f"{WORKSPACE}/nothing/x", {}, 404, "InvalidParameter", "nothing is served"),
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
    """Each has its status, code and words in the dialect's envelope, and nothing is embedded."""
    answer = await client.post(path, json=body)
    refusal = ErrorAnswer.model_validate_json(answer.content)
    assert (answer.status_code, refusal.code, refusal.latency) == (status, code, 0)
    assert words in refusal.message
    assert refusal.request_id == answer.headers["x-request-id"]
    assert engine.calls == []


async def test_broken_json_is_refused_in_the_documented_words(client: httpx.AsyncClient) -> None:
    """What cannot be read is the caller's mistake."""
    answer = await client.post(TEXT, content=b"{")
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert "JSON parse error" in answer.json()["message"]


async def test_rate_is_per_service_and_can_be_turned_off() -> None:
    """Ten multimodal and fifty text requests pass at one moment; with the setting off, any."""
    multimodal = f"{MULTIMODAL}/ops-m2-encoder"
    async with client_with() as client:
        for path, body, rate in (
            (multimodal, {"input": [{"text": "a"}]}, 10),
            (TEXT, {"input": "a"}, 50),
        ):
            answers = [await client.post(path, json=body) for _ in range(rate + 1)]
            assert [answer.status_code for answer in answers] == [200] * rate + [429]
            assert answers[-1].json()["code"] == "Throttling.RateQuota"
            assert answers[-1].json()["message"].startswith("Requests rate limit exceeded")
            assert answers[-1].headers["retry-after"] == "1"
    async with client_with(ApisSettings(limit_rates=False)) as client:
        answers = [
            await client.post(multimodal, json={"input": [{"text": "a"}]}) for _ in range(30)
        ]
        assert {answer.status_code for answer in answers} == {200}


async def test_strict_limits_are_those_of_the_contract() -> None:
    """32 inputs and 8 MB pass, one more of either does not; lenient takes both."""
    # Most of the body is spaces between two names, so that the text itself stays short.
    large = b'{"input":' + b" " * MAX_BODY_BYTES + b'"a"}'
    async with client_with(ApisSettings(strict_limits=True)) as client:
        assert (await client.post(TEXT, json={"input": ["a"] * 32})).status_code == 200
        assert (await client.post(TEXT, json={"input": ["a"] * 33})).status_code == 400
        assert (await client.post(TEXT, content=large)).status_code == 400
        fits = large.replace(b" " * 100, b"", 1)
        assert (await client.post(TEXT, content=fits)).status_code == 200
    async with client_with() as client:
        assert (await client.post(TEXT, json={"input": ["a"] * 33})).status_code == 200
        assert (await client.post(TEXT, content=large)).status_code == 200


@pytest.mark.parametrize("service_id", ["ops-m2-encoder", "ops-gme-qwen2-vl-2b-instruct"])
async def test_texts_and_images_are_embedded_or_fused(service_id: str) -> None:
    """Each input has a vector; of a text and an image together, some models embed the text."""
    inputs = [{"text": "yellow"}, {"image": BLUE}, {"text": "yellow", "image": BLUE}]
    model = MODELS[ModelName(service_id)]
    async with client_with() as client:
        path = f"{MULTIMODAL}/{service_id}"
        answer = await client.post(path, json={"input": inputs, "options": {"k": 1}})
        parsed = MultimodalAnswer.model_validate_json(answer.content)
        rows = np.array([each.embedding for each in parsed.result.embeddings])
        assert rows.shape == (3, model.default_dimension)
        cosines = rows @ rows[0]
        assert cosines[1] < 0.1
        assert 0.1 < cosines[2] < 0.9 if model.fuses else cosines[2] > 0.999
        images = 2 if model.fuses else 1
        usage = parsed.usage
        assert (usage.image, usage.text_token, usage.image_token) == (images, 2, 16 * images)
        assert usage.token_count == usage.text_token + usage.image_token
        assert answer.headers["x-milvane-weights"] == "colours"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "input 1 has neither text nor image"),
        ({"image": "no address"}, "image of input 1 is no URL"),
        ({"image": "https://a/b.png"}, "input 1: the address does not answer"),
        ({"text": ""}, "input 1 is an empty string"),
    ],
)
async def test_bad_contents_are_named(content: dict[str, str], words: str) -> None:
    """The refusal says which input, and why, in the documented envelope."""
    async with client_with() as client:
        path = f"{MULTIMODAL}/ops-m2-encoder"
        answer = await client.post(path, json={"input": [{"text": "a"}, content]})
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert words in answer.json()["message"]


async def test_cut_is_reported() -> None:
    """A text that the operator lets be cut is named in the answer."""
    service = EmbeddingService({WEIGHTS: HashingEngine()}, ServingSettings(cut_long_inputs=True))
    app = create_app(service, ApisSettings(), Readiness)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://milvane"
    ) as client:
        answer = await client.post(TEXT, json={"input": ["a", " ".join("x" * 301)]})
    assert answer.json()["milvane"] == {"cut_inputs": [1]}
    assert answer.json()["usage"] == {"token_count": 301}


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_row(kind: ErrorKind) -> None:
    """No failure falls through, and none is sent as a success."""
    assert TABLE[kind].status >= 400
    assert TABLE[kind].code


@pytest.mark.parametrize(
    ("error", "status", "code", "opening"),
    [
        (ModelNotFound("m", known="k"), 400, "ServiceIdNotExist", "service_id is not exist."),
        (
            QuotaExceeded("spent", retry_after_s=1),
            429,
            "Throttling.AllocationQuota",
            "Allocated quota exceeded, please increase your quota limit.",
        ),
        (
            RateExceeded("fast", retry_after_s=1),
            429,
            "Throttling.RateQuota",
            "Requests rate limit exceeded, please try again later.",
        ),
    ],
)
def test_error_has_its_documented_code_and_words(error, status, code, opening) -> None:
    """The table of the documents, word by word."""
    answer = answer_error(error, request_id="r", model=None)
    body = orjson.loads(answer.body)
    assert (answer.status_code, body["code"], body["latency"]) == (status, code, 0)
    assert body["message"].startswith(opening)


@pytest.mark.parametrize("status", [404, 405, 413])
def test_what_http_settles_is_said_in_the_dialect(status: int) -> None:
    """Unknown paths, wrong methods and huge bodies have the same envelope."""
    refusal = HTTPException(status, "Payload Too Large.")
    answer = answer_http_refusal(refusal, request_id="r", method="PUT", path="/v3/openapi/x")
    parsed = ErrorAnswer.model_validate_json(bytes(answer.body))
    assert (answer.status_code, parsed.code) == (status, "InvalidParameter")
