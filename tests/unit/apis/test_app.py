"""The application as a whole: what holds on every path."""

import json
import logging
import re
from functools import cache
from typing import Any, NoReturn

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from milvane.apis.aisearch.wire import ErrorAnswer as AiSearchError
from milvane.apis.app import create_app
from milvane.apis.dashscope.routes import MULTIMODAL_PATH, TEXT_PATH
from milvane.apis.dashscope.wire import ErrorAnswer as NativeError
from milvane.apis.dashscope.wire import TextAnswer as NativeAnswer
from milvane.apis.openai.wire import EmbeddingsAnswer, ErrorAnswer
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.errors import Internal, ModelNotServed, Overloaded, ServiceError, StillLoading
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService
from milvane.serving.ports import TextEngine
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine

MODEL = "text-embedding-v4"

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
near_bodies = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just(MODEL) | json_values,
        "input": st.text(max_size=9) | st.lists(st.text(max_size=9), max_size=4) | json_values,
        "dimensions": st.integers(-1, 4096) | json_values,
        "encoding_format": st.sampled_from(["float", "base64"]) | json_values,
        "text_type": st.sampled_from(["query", "document"]) | json_values,
        "user": json_values,
    },
)


def client_of(engine: TextEngine) -> httpx.AsyncClient:
    """Speak to an application in front of an engine; what it fails to answer is raised."""
    service = EmbeddingService(
        {ALL_MINILM_L6_V2.name: engine},
        ServingSettings(),
        weighers={ALL_MINILM_L6_V2.name: CountingWeigher()},
    )
    transport = httpx.ASGITransport(create_app(service, ApisSettings(), Readiness))
    return httpx.AsyncClient(transport=transport, base_url="http://milvane")


@cache
def shared_app() -> tuple[FastAPI, HashingEngine]:
    """Build one application without rates, for the tests that send hundreds of requests."""
    engine = HashingEngine()
    service = EmbeddingService(
        {ALL_MINILM_L6_V2.name: engine},
        ServingSettings(),
        weighers={ALL_MINILM_L6_V2.name: CountingWeigher()},
    )
    return create_app(service, ApisSettings(limit_rates=False), Readiness), engine


async def post_shared(path: str, content: bytes) -> tuple[httpx.Response, int]:
    """Send a body to the shared application; give back the answer and how many were embedded."""
    app, engine = shared_app()
    before = engine.embedded_texts
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as http:
        answer = await http.post(path, content=content)
    return answer, engine.embedded_texts - before


class FailingEngine(HashingEngine):
    """Fails instead of embedding."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self._failure = failure

    async def embed(self, *_: Any, **__: Any) -> NoReturn:
        """Fail."""
        raise self._failure


@given(content=(near_bodies | json_values).map(json.dumps).map(str.encode) | st.binary(max_size=40))
@example(content=b"[" * 100_000)
@example(content=b'{"model":"text-embedding-v4","input":"\\ud800"}')
@example(content=b'{"model":"text-embedding-v4","input":"a","dimensions":1e999}')
@example(content=b'{"model":"text-embedding-v4","input":"a","dimensions":' + b"9" * 4_000 + b"}")
@example(content=b'{"model":"text-embedding-v4","input":"' + "\U0001f600".encode() + b'"}')
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_any_body_is_answered_or_refused(content: bytes) -> None:
    """Whatever the body, the answer is a success or a refusal in the dialect, and never a 5xx."""
    answer, embedded_texts = await post_shared("/v1/embeddings", content)
    if answer.status_code == 200:
        EmbeddingsAnswer.model_validate_json(answer.content)
        return
    assert answer.status_code in {400, 404}
    refusal = ErrorAnswer.model_validate_json(answer.content)
    assert refusal.error.message
    assert refusal.request_id == answer.headers["x-request-id"]
    assert embedded_texts == 0


native_parameters = st.fixed_dictionaries(
    {},
    optional={
        "text_type": st.sampled_from(["query", "document"]) | json_values,
        "dimension": st.integers(-1, 4096) | st.just("64") | json_values,
        "output_type": st.sampled_from(["dense", "sparse", "dense&sparse"]) | json_values,
        "instruct": json_values,
        "truncate": json_values,
        "kwargs": json_values,
        "parameters": json_values,
    },
)
native_bodies = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from([MODEL, "text-embedding-v2", "qwen3-vl-embedding"]) | json_values,
        "input": st.fixed_dictionaries(
            {},
            optional={
                "texts": st.lists(st.text(max_size=9), max_size=4) | json_values,
                "contents": st.lists(
                    st.text(max_size=9)
                    | st.dictionaries(st.sampled_from(["text", "image", "video"]), json_values),
                    max_size=4,
                )
                | json_values,
            },
        )
        | json_values,
        "parameters": native_parameters | json_values,
    },
)


@given(
    content=(native_bodies | json_values).map(json.dumps).map(str.encode) | st.binary(max_size=40),
    path=st.sampled_from([TEXT_PATH, MULTIMODAL_PATH]),
)
@example(content=b"[" * 100_000, path=TEXT_PATH)
@example(content=b'{"model":"text-embedding-v4","input":{"texts":["\\ud800"]}}', path=TEXT_PATH)
@example(
    content=b'{"model":"text-embedding-v4","input":{"texts":["a"]},"parameters":{"dimension":'
    + b"9" * 5_000
    + b"}}",
    path=TEXT_PATH,
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_any_native_body_is_answered_or_refused(content: bytes, path: str) -> None:
    """Whatever the body, the answer is a success, a refusal, or that weights are missing."""
    answer, embedded_texts = await post_shared(path, content)
    if answer.status_code == 200:
        NativeAnswer.model_validate_json(answer.content)
        return
    assert answer.status_code in {400, 403, 503}
    refusal = NativeError.model_validate_json(answer.content)
    assert refusal.message
    assert (answer.status_code == 503) == (refusal.code == "ModelUnavailable")
    assert embedded_texts == 0


search_bodies = st.fixed_dictionaries(
    {},
    optional={
        "input": st.text(max_size=9)
        | st.lists(st.text(max_size=9) | st.dictionaries(st.just("text"), json_values), max_size=4)
        | json_values,
        "input_type": st.sampled_from(["query", "document"]) | json_values,
        "return_token": json_values,
    },
)


@given(
    content=(search_bodies | json_values).map(json.dumps).map(str.encode) | st.binary(max_size=40),
    service=st.sampled_from(
        [
            "text-embedding/ops-text-embedding-001",
            "text-sparse-embedding/ops-text-sparse-embedding-001",
            "multi-modal-embedding/ops-m2-encoder",
            "text-embedding/none",
        ]
    ),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_any_ai_search_body_is_answered_or_refused(content: bytes, service: str) -> None:
    """Whatever the body, the answer is a success, a refusal, or that weights are missing."""
    answer, embedded_texts = await post_shared(f"/v3/openapi/workspaces/default/{service}", content)
    if answer.status_code == 200:
        assert {"request_id", "latency", "usage", "result"} == set(answer.json())
        return
    assert answer.status_code in {400, 503}
    refusal = AiSearchError.model_validate_json(answer.content)
    assert refusal.message
    assert (answer.status_code == 503) == (refusal.code == "ModelUnavailable")
    assert embedded_texts == 0


@pytest.mark.parametrize("prefix", ["/v1", "/compatible-mode/v1"])
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/embeddings/", 404, "not_found"),
        ("GET", "/embeddings", 405, "method_not_allowed"),
        ("DELETE", "/models", 405, "method_not_allowed"),
        ("GET", "/models/no-such", 404, "model_not_found"),
    ],
)
async def test_wrong_path_or_method_is_said_in_the_dialect(
    client: httpx.AsyncClient, prefix: str, method: str, path: str, status: int, code: str
) -> None:
    """A client of the dialect can read even the refusal of a path that does not exist."""
    answer = await client.request(method, prefix + path)
    refusal = ErrorAnswer.model_validate_json(answer.content)
    assert (answer.status_code, refusal.error.code) == (status, code)


async def test_too_large_a_body_is_said_in_the_dialect(
    client: httpx.AsyncClient, engine: HashingEngine
) -> None:
    """The refusal names the limit, and nothing was spent."""
    answer = await client.post("/v1/embeddings", json={"model": MODEL, "input": "x" * 100_001})
    refusal = ErrorAnswer.model_validate_json(answer.content)
    assert (answer.status_code, refusal.error.code) == (413, "BadRequest.TooLarge")
    assert refusal.error.message.startswith("Payload Too Large.")
    assert engine.embedded_texts == 0


async def test_no_detail_of_a_defect_leaves(caplog: pytest.LogCaptureFixture) -> None:
    """A defect is a 500 in the dialect with an id, and its story is in the log alone."""
    async with client_of(FailingEngine(RuntimeError("a secret"))) as http:
        answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": "a"})
    refusal = ErrorAnswer.model_validate_json(answer.content)
    assert (answer.status_code, refusal.error.code) == (500, "InternalError")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-request-id"] in refusal.error.message
    assert answer.headers["x-request-id"] in caplog.text
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "keys"),
    [
        (TEXT_PATH, {"model": MODEL, "input": {"texts": ["a"]}}, {"code", "message", "request_id"}),
        (
            "/v3/openapi/workspaces/default/text-embedding/ops-text-embedding-001",
            {"input": "a"},
            {"code", "message", "request_id", "latency"},
        ),
    ],
)
async def test_defect_is_said_in_the_dialect_of_its_path(
    caplog: pytest.LogCaptureFixture, path: str, body: dict[str, object], keys: set[str]
) -> None:
    """What nobody foresaw has the same shape as what was, and an id to find it by in the log."""
    async with client_of(FailingEngine(RuntimeError("a secret"))) as http:
        answer = await http.post(path, json=body)
    assert (answer.status_code, set(answer.json())) == (500, keys)
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["message"]
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    ("failure", "logged"),
    [
        (Internal("broken"), 1),
        (Overloaded("full", retry_after_s=1), 0),
        (ModelNotServed("not here"), 0),
        (StillLoading("soon", retry_after_s=1), 0),
    ],
)
async def test_own_failures_are_logged_and_refusals_are_not(
    caplog: pytest.LogCaptureFixture, failure: ServiceError, logged: int
) -> None:
    """An operator's log shows what the server got wrong, not what callers did."""
    async with client_of(FailingEngine(failure)) as http:
        await http.post("/v1/embeddings", json={"model": MODEL, "input": "a"})
    assert len([each for each in caplog.records if each.levelno >= logging.ERROR]) == logged


async def test_weights_that_are_not_loaded_are_unavailable() -> None:
    """A model whose weights are missing is a 503 that says how to get them."""
    app = create_app(EmbeddingService({}, ServingSettings()), ApisSettings(), Readiness)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as http:
        answer = await http.post("/v1/embeddings", json={"model": MODEL, "input": "a"})
    refusal = ErrorAnswer.model_validate_json(answer.content)
    assert (answer.status_code, refusal.error.code) == (503, "ServiceUnavailable")
    assert "milvane models pull" in refusal.error.message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": MODEL, "input": "a"}),
        (
            TEXT_PATH,
            {"model": MODEL, "input": {"texts": ["a"]}},
        ),
    ],
)
async def test_weights_on_their_way_are_worth_another_try(path: str, body: object) -> None:
    """Who asks before the weights are loaded is told so, and when to come back."""
    service = EmbeddingService({}, ServingSettings(), loading={ALL_MINILM_L6_V2.name})
    transport = httpx.ASGITransport(create_app(service, ApisSettings(), Readiness))
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as http:
        answer = await http.post(path, json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "still being loaded" in answer.text


async def test_description_is_true_to_the_routes(client: httpx.AsyncClient) -> None:
    """The description lists every path, and no error that the server does not send."""
    description = (await client.get("/openapi.json")).json()
    described = {path: list(methods) for path, methods in description["paths"].items()}
    dialect = {"/embeddings": ["post"], "/models": ["get"], "/models/{name}": ["get"]}
    embeddings = "/api/v1/services/embeddings"
    workspace = "/v3/openapi/workspaces/{workspace}"
    expected = {
        "/health/live": ["get"],
        "/health/ready": ["get"],
        **{"/v1" + path: methods for path, methods in dialect.items()},
        **{"/compatible-mode/v1" + path: methods for path, methods in dialect.items()},
        f"{embeddings}/text-embedding/text-embedding": ["post"],
        f"{embeddings}/multimodal-embedding/multimodal-embedding": ["post"],
        "/api/v1/models": ["get"],
        "/api/v1/models/limits": ["get"],
        "/api/v1/quotas": ["get"],
        f"{workspace}/text-embedding/{{service_id}}": ["post"],
        f"{workspace}/text-sparse-embedding/{{service_id}}": ["post"],
        f"{workspace}/multi-modal-embedding/{{service_id}}": ["post"],
    }
    assert expected.items() <= described.items()
    assert "$defs" not in json.dumps(description)
    assert "HTTPValidationError" not in json.dumps(description)
    body = description["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]
    assert body["application/json"]["schema"]["required"] == ["model", "input"]


async def test_interactive_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    """All that the page names is on this server, and a browser is told to load nothing else."""
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert named
    for address in named:
        if address == "data:,":
            continue
        assert address.startswith("/docs/")
        file = await client.get(address)
        assert (file.status_code, bool(file.content)) == (200, True)
        assert file.headers["x-content-type-options"] == "nosniff"
    start = (await client.get("/docs/start.js")).text
    assert "http" not in start.replace("/openapi.json", "")
    for path in ("/redoc", "/docs/redoc.standalone.js", "/docs/..%2f__init__.py"):
        assert (await client.get(path)).status_code == 404


async def test_both_prefixes_give_the_same_vectors(client: httpx.AsyncClient) -> None:
    """The two mounts are one dialect."""
    vectors = [
        (await client.post(f"{prefix}/embeddings", json={"model": MODEL, "input": "a"})).json()[
            "data"
        ]
        for prefix in ("/v1", "/compatible-mode/v1")
    ]
    assert vectors[0] == vectors[1]
    assert np.isclose(np.linalg.norm(vectors[0][0]["embedding"]), 1)


@pytest.mark.parametrize(
    ("path", "body", "weights"),
    [
        ("/v1/embeddings", {"model": MODEL, "input": "a"}, ALL_MINILM_L6_V2.name),
        ("/v1/embeddings", {"model": MODEL, "input": ""}, ALL_MINILM_L6_V2.name),
        ("/v1/embeddings", {"model": "no-such", "input": "a"}, None),
        (
            TEXT_PATH,
            {"model": MODEL, "input": {"texts": ["a"]}},
            ALL_MINILM_L6_V2.name,
        ),
    ],
)
async def test_answers_of_a_model_say_which_weights_serve_it(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], weights: str | None
) -> None:
    """Whoever knows a model by a hosted service's name can see that other weights answer."""
    answer = await client.post(path, json=body)
    assert answer.headers.get("x-milvane-weights") == weights
