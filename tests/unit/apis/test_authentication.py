"""Keys of the HTTP APIs."""

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.datastructures import Headers

from milvane.apis.app import create_app
from milvane.apis.authentication import is_public, read_token
from milvane.apis.settings import ApisSettings
from milvane.domain.callers import ANYONE, Caller
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.readiness import Readiness
from milvane.serving.access import AccessSettings, Authenticator
from milvane.serving.callers import current_caller
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine


def closed_app(engine: HashingEngine | None = None) -> FastAPI:
    """Build an application that knows one user and one key."""
    engine = engine or HashingEngine()
    service = EmbeddingService({ALL_MINILM_L6_V2.name: engine}, ServingSettings())
    access = AccessSettings(users={"root": SecretStr("Milvus")}, api_keys=[SecretStr("key-1")])
    return create_app(service, ApisSettings(), Readiness, authenticator=Authenticator(access))


async def call(
    method: str, path: str, engine: HashingEngine | None = None, **headers: str
) -> httpx.Response:
    """Make one request of the closed application."""
    transport = httpx.ASGITransport(app=closed_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = {"model": "text-embedding-v4", "input": "hello"} if method == "POST" else None
        return await client.request(method, path, json=body, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer key-1"},
        {"authorization": "bearer root:Milvus"},
        {"x-acs-bearer-token": "key-1"},
        {"api-key": "key-1"},
    ],
)
async def test_known_key_is_let_in(headers: dict[str, str]) -> None:
    """Wherever an SDK puts it."""
    assert (await call("POST", "/v1/embeddings", **headers)).status_code == 200


async def test_work_is_done_for_who_calls() -> None:
    """The engine, far below, can tell."""
    engine = HashingEngine()
    await call("POST", "/v1/embeddings", engine, authorization="Bearer root:Milvus")
    assert engine.callers == [Caller(name="root", tenant="root")]
    assert current_caller() == ANYONE, "and afterwards nobody is left"


def walk_routes() -> list[tuple[str, str]]:
    """List every method and path that the application describes."""
    return [
        (method.upper(), path)
        for path, methods in closed_app().openapi()["paths"].items()
        for method in methods
    ]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/embeddings", "error"),
        ("/compatible-mode/v1/models", "error"),
        ("/api/v1/services/embeddings/text-embedding/text-embedding", "code"),
        ("/v3/openapi/workspaces/default/text-embedding/ops-text-embedding-001", "code"),
        ("/openapi.json", "error"),
        ("/docs", "error"),
        ("/no/such/path", "error"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer key-2"}])
async def test_everything_else_needs_a_key(
    method: str, path: str, field: str, headers: dict[str, str]
) -> None:
    """Denied in the dialect of the path, whether the path exists or not."""
    reply = await call(method, path, **headers)
    assert reply.status_code == 401
    assert field in reply.json()
    assert reply.headers["x-request-id"]


async def test_every_route_is_closed_but_health() -> None:
    """A route that is added is closed until somebody says otherwise."""
    routes = walk_routes()
    assert len(routes) > 10
    for method, path in routes:
        reply = await call(method, path)
        is_open = path.startswith("/health/")
        assert (reply.status_code != 401) is is_open, (method, path)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/health/ready", True),
        ("HEAD", "/health/live", True),
        ("POST", "/health/ready", False),
        ("GET", "/healthy", False),
        ("GET", "/", True),
        ("POST", "/", False),
        ("GET", "//", False),
        ("GET", "/console/app.js", True),
        ("GET", "/consoles", False),
        ("GET", "/api/v1/results/abc.jsonl.gz", True),
        ("POST", "/api/v1/uploads", True),
        ("GET", "/api/v1/uploads", False),
        ("POST", "/api/v1/uploads/x", False),
    ],
)
def test_public_paths_are_few(method: str, path: str, *, expected: bool) -> None:
    """Probes, and addresses that carry their own permission."""
    assert is_public(method, path) is expected


def test_no_header_is_no_token() -> None:
    """Another scheme is not a key."""
    assert read_token(Headers({})) == ""
    assert read_token(Headers({"authorization": "Basic cm9vdA=="})) == ""
