"""Requests that real clients sent elsewhere, sent again here."""

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS
from milvane.domain.readiness import Readiness
from milvane.inference.token_ids import TokenTexts, read_token_texts
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine
from weights import default_weights_dir


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


LINES = (Path(__file__).parent / "recorded" / "openai.jsonl").read_text(encoding="utf-8")
REQUESTS = [Recorded(**json.loads(line)) for line in LINES.splitlines()]
EMBEDDINGS = [each for each in REQUESTS if each.path.endswith("/embeddings")]
MODEL_CALLS = [each for each in REQUESTS if "/models" in each.path]


@cache
def vocabulary() -> TokenTexts:
    """Read what token ids mean."""
    return read_token_texts(default_weights_dir())


async def send(request: Recorded) -> httpx.Response:
    """Send a recorded request to a server of its own."""
    service = EmbeddingService({ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings())
    app = create_app(service, ApisSettings(), Readiness, vocabulary=vocabulary())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
        return await client.request(
            request.method,
            request.path,
            headers=[(name, value) for name, value in request.headers],
            content=request.body.encode(),
        )


def texts_of(request: Recorded) -> list[Any]:
    """List the inputs, whatever they are; numbers alone are one input as token ids."""
    inputs = request.parsed["input"]
    is_list = isinstance(inputs, list) and not (inputs and isinstance(inputs[0], int))
    return inputs if is_list else [inputs]


def is_answerable(request: Recorded) -> bool:
    """The model exists, and there are inputs, each a text or token ids, and none empty."""
    texts = texts_of(request)
    return (
        request.parsed["model"] in MODELS
        and bool(texts)
        and all(isinstance(text, str | list) and text for text in texts)
    )


def dimension_of(embedding: str | list[float]) -> int:
    """Count an embedding's numbers in either encoding."""
    if isinstance(embedding, str):
        return len(base64.b64decode(embedding, validate=True)) // 4
    return len(embedding)


@pytest.mark.parametrize(
    "recorded",
    [each for each in EMBEDDINGS if is_answerable(each)],
    ids=lambda request: request.label,
)
async def test_recorded_request_is_answered_as_its_client_expects(recorded: Recorded) -> None:
    """Each input has a vector of the dimension and in the encoding that the client asked for."""
    answer = await send(recorded)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [item["index"] for item in body["data"]] == list(range(len(texts_of(recorded))))
    encoding = str if recorded.parsed.get("encoding_format") == "base64" else list
    dimension = recorded.parsed.get("dimensions", 1024)
    for item in body["data"]:
        assert isinstance(item["embedding"], encoding)
        assert dimension_of(item["embedding"]) == dimension
    assert body["model"] == recorded.parsed["model"]
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] >= 1


@pytest.mark.parametrize(
    "recorded",
    [each for each in EMBEDDINGS if not is_answerable(each)],
    ids=lambda request: request.label,
)
async def test_recorded_request_is_refused_with_its_reason(recorded: Recorded) -> None:
    """Empty texts, empty lists and unknown models each have their own words."""
    answer = await send(recorded)
    error = answer.json()["error"]
    texts = texts_of(recorded)
    if not texts:
        assert (answer.status_code, error["param"]) == (400, "input")
        assert "empty list" in error["message"]
    elif recorded.parsed["model"] not in MODELS:
        assert (answer.status_code, error["code"]) == (404, "model_not_found")
    else:
        assert answer.status_code == 400
        assert "Range of input length should be [1, 8192]" in error["message"]


@pytest.mark.parametrize("recorded", MODEL_CALLS, ids=lambda request: request.label)
async def test_recorded_look_at_the_models_is_answered(recorded: Recorded) -> None:
    """The list and a single model have the keys that clients read."""
    answer = await send(recorded)
    assert answer.status_code == 200
    body = answer.json()
    for card in body.get("data", [body]):
        assert {"id", "object", "created", "owned_by"} <= set(card)


def test_recordings_hold_every_case() -> None:
    """The file has requests of each kind, so that no test above runs over nothing."""
    answerable = sum(map(is_answerable, EMBEDDINGS))
    assert (answerable, len(EMBEDDINGS) - answerable, len(MODEL_CALLS)) == (38, 17, 5)
