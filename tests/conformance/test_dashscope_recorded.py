"""Requests that real clients of the native dialect sent elsewhere, sent again here."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from milvane.apis.aisearch.wire import ErrorAnswer as AiSearchError
from milvane.apis.aisearch.wire import SparseAnswer
from milvane.apis.aisearch.wire import TextAnswer as AiSearchAnswer
from milvane.apis.app import create_app
from milvane.apis.dashscope.wire import ErrorAnswer, TextAnswer
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS
from milvane.domain.models import ModelName
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine


@dataclass(frozen=True)
class Recorded:
    """One request as a client sent it."""

    label: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: str

    @property
    def parsed(self) -> dict[str, Any]:
        """The body's fields."""
        fields: dict[str, Any] = json.loads(self.body)
        return fields

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self.parsed["model"])


def read(name: str) -> list[Recorded]:
    """Read the requests of one file."""
    lines = (Path(__file__).parent / "recorded" / name).read_text(encoding="utf-8").splitlines()
    return [Recorded(**json.loads(line)) for line in lines]


REQUESTS = read("dashscope.jsonl")
TEXTS = [each for each in REQUESTS if each.path.endswith("/text-embedding")]
CONTENTS = [each for each in REQUESTS if each.path.endswith("/multimodal-embedding")]
LISTINGS = [each for each in REQUESTS if "/models" in each.path]
AI_SEARCH = read("aisearch.jsonl")


@cache
def served() -> FastAPI:
    """Build one application for all requests: none leaves a trace in it."""
    weights = ALL_MINILM_L6_V2.name
    service = EmbeddingService(
        {weights: HashingEngine()}, ServingSettings(), weighers={weights: CountingWeigher()}
    )
    return create_app(service, ApisSettings(), Readiness)


async def send(request: Recorded) -> httpx.Response:
    """Send a recorded request."""
    transport = httpx.ASGITransport(served())
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
        return await client.request(
            request.method,
            request.path,
            headers=[(name, value) for name, value in request.headers],
            content=request.body.encode(),
        )


def is_answerable(request: Recorded) -> bool:
    """The model exists, and there are texts, none of them empty."""
    texts = request.parsed["input"]["texts"]
    return (
        request.model in MODELS
        and bool(texts)
        and all(isinstance(text, str) and text for text in texts)
    )


@pytest.mark.parametrize(
    "recorded", [each for each in TEXTS if is_answerable(each)], ids=lambda each: each.label
)
async def test_recorded_request_is_answered_as_its_client_expects(recorded: Recorded) -> None:
    """Each text has what the client asked for, wherever it put the parameters."""
    answer = await send(recorded)
    assert answer.status_code == 200, answer.text
    parsed = TextAnswer.model_validate_json(answer.content)
    texts = recorded.parsed["input"]["texts"]
    parameters = recorded.parsed["parameters"]
    default = MODELS[ModelName(recorded.model)].default_dimension
    dimension = parameters.get("dimension", default)
    assert [item.text_index for item in parsed.output.embeddings] == list(range(len(texts)))
    for item in parsed.output.embeddings:
        assert len(item.embedding or []) == dimension
        assert bool(item.sparse_embedding) == ("sparse" in parameters.get("output_type", "dense"))
    assert parsed.usage.total_tokens >= len(texts)
    assert "null" not in answer.text


@pytest.mark.parametrize(
    "recorded", [each for each in TEXTS if not is_answerable(each)], ids=lambda each: each.label
)
async def test_recorded_request_is_refused_with_its_reason(recorded: Recorded) -> None:
    """Unknown models, empty and missing texts, and what is no text each have their own code."""
    answer = await send(recorded)
    refusal = ErrorAnswer.model_validate_json(answer.content)
    texts = recorded.parsed["input"]["texts"]
    assert answer.status_code == 400
    if not texts:
        assert refusal.code == "BadRequest.EmptyInput"
    elif any(not isinstance(text, str) for text in texts):
        assert "contents is neither str nor list of str" in refusal.message
    elif recorded.model not in MODELS:
        assert refusal.message.startswith("Model not exist.")
    else:
        assert "Range of input length should be [1, 8192]: input" in refusal.message


@pytest.mark.parametrize("recorded", CONTENTS, ids=lambda each: each.label)
async def test_recorded_contents_are_understood(recorded: Recorded) -> None:
    """Every good form gets as far as the missing weights, and says what to pull."""
    answer = await send(recorded)
    refusal = ErrorAnswer.model_validate_json(answer.content)
    if "multi_images-local" in recorded.label:  # a path, which the client should have uploaded
        assert (answer.status_code, refusal.code) == (400, "InvalidParameter")
        assert "multi_images of contents 0" in refusal.message
    elif recorded.model not in MODELS:
        assert (answer.status_code, refusal.code) == (400, "InvalidParameter")
        assert refusal.message.startswith("Model not exist.")
    else:
        assert (answer.status_code, refusal.code) == (503, "ModelUnavailable")
        assert "no weights here serve it" in refusal.message


@pytest.mark.parametrize("recorded", LISTINGS, ids=lambda each: each.label)
async def test_recorded_look_at_the_models_is_answered(recorded: Recorded) -> None:
    """The page has the keys that clients read."""
    body = (await send(recorded)).json()
    assert {"models", "page_no", "page_size", "total"} <= set(body["output"])
    assert body["output"]["models"][0]["model"] == "text-embedding-v4"


@pytest.mark.parametrize("recorded", AI_SEARCH, ids=lambda each: each.label)
async def test_recorded_ai_search_request_is_answered(recorded: Recorded) -> None:
    """Texts and terms are answered, images name the missing weights, other services are refused."""
    answer = await send(recorded)
    service = recorded.path.rpartition("/")[2]
    if service not in MODELS:
        assert (answer.status_code, answer.json()["code"]) == (400, "ServiceIdNotExist")
    elif "multi-modal" in recorded.path:
        refusal = AiSearchError.model_validate_json(answer.content)
        assert (answer.status_code, refusal.code) == (503, "ModelUnavailable")
    elif "sparse" in recorded.path:
        parsed = SparseAnswer.model_validate_json(answer.content)
        assert parsed.result.sparse_embeddings[0].embedding[0].token is not None
    else:
        vectors = AiSearchAnswer.model_validate_json(answer.content).result.embeddings
        assert [len(item.embedding) for item in vectors] == [1536, 1536]


def test_recordings_hold_every_case() -> None:
    """The files have requests of each kind, so that no test above runs over nothing."""
    answerable = sum(map(is_answerable, TEXTS))
    counts = (answerable, len(TEXTS) - answerable, len(CONTENTS), len(LISTINGS), len(AI_SEARCH))
    assert counts == (43, 21, 27, 5, 6)
