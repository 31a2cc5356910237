"""REST v2 over an upstream that remembers what it is asked: the table, credentials and limits."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import httpx
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.gateway.bindings import Bindings
from milvane.gateway.calls import Metadata
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.errors import reply_type
from milvane.gateway.rest_v2.app import RestApp
from milvane.gateway.rest_v2.paths import PATHS, PREFIX, REFUSED
from milvane.gateway.rpcs.services import Services
from milvane.gateway.settings import Compat
from milvane.instances.upstream import UpstreamStatus
from milvane.serving.access import AccessSettings, Authenticator
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

MAX_BODY_BYTES = 100_000
SUITABLE = {
    "dbName": "second",
    "collectionName": "articles",
    "newCollectionName": "papers",
    "partitionName": "first",
    "partitionNames": ["first"],
    "indexName": "by_meaning",
    "aliasName": "texts",
    "userName": "alice",
    "roleName": "reader",
    "password": "old secret",
    "newPassword": "new secret",
    "objectType": "Collection",
    "objectName": "articles",
    "privilege": "Search",
    "privilegeGroupName": "readers",
    "fieldName": "document",
    "functionName": "bm25",
    "function": {
        "name": "bm25",
        "type": "BM25",
        "inputFieldNames": ["document"],
        "outputFieldNames": ["sparse"],
    },
    "jobID": 5,
    "id": [1],
    "filter": "id > 0",
    "annsField": "dense",
    "search": [{"data": [[1.0, 0.0]], "annsField": "dense"}],
    "indexParams": [{"fieldName": "dense", "metricType": "COSINE"}],
    "dimension": 2,
}
"""A body that has what every path needs."""


@dataclass
class Remembering:
    """An upstream that answers every call, and keeps what it was sent."""

    calls: list[tuple[str, bytes]] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    replies: dict[str, bytes] = field(default_factory=dict)
    refusal: UpstreamStatus | None = None
    holding: bool = False
    held: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(
        self, method: str, request: bytes, *, metadata: Metadata, timeout_s: float | None
    ) -> bytes:
        """Answer with an empty reply, but describe a collection when asked for one."""
        name = method.rpartition("/")[2]
        self.calls.append((name, request))
        self.metadata.append(dict(metadata))
        self.timeouts.append(timeout_s)
        if self.refusal is not None:
            raise self.refusal
        if self.holding:
            self.held.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if name in self.replies:
            return self.replies[name]
        if name == "DescribeCollection":
            return articles().SerializeToString()
        if name == "GetLoadState":
            return milvus_pb2.GetLoadStateResponse(
                state=common_pb2.LoadState.LoadStateLoaded
            ).SerializeToString()
        return reply_type(name)().SerializeToString()

    def open_stream(self, *_: object, **__: object) -> AsyncIterator[bytes]:
        """Have no streams."""
        raise NotImplementedError

    @property
    def names(self) -> list[str]:
        """The calls' names."""
        return [name for name, _ in self.calls]


def articles() -> milvus_pb2.DescribeCollectionResponse:
    """Describe a collection of two fields."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="id", data_type=schema_pb2.DataType.Int64, is_primary_key=True)
    vector = schema.fields.add(name="dense", data_type=schema_pb2.DataType.FloatVector)
    vector.type_params.add(key="dim", value="2")
    return milvus_pb2.DescribeCollectionResponse(schema=schema, collection_name="articles")


@dataclass
class Bench:
    """A client of the application, and what is behind it."""

    http: httpx.AsyncClient
    upstream: Remembering
    app: RestApp

    async def post(self, path: str, body: dict, **headers: str) -> httpx.Response:
        """Call a path."""
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.http.post(PREFIX + path, json=body, headers=given)


def an_app(upstream: Remembering, access: AccessSettings, compat: Compat = "2.6") -> RestApp:
    """Build the application."""
    services = Services(
        embedding=EmbeddingService({ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings()),
        bindings=Bindings(max_cached=10),
        next_revision=iter(range(1, 1000)).__next__,
    )
    dispatcher = Dispatcher(upstream, services, Authenticator(access))
    return RestApp(dispatcher, max_body_bytes=MAX_BODY_BYTES, compat=compat)


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A bench that lets everyone in, or whom the test says."""
    access = getattr(request, "param", AccessSettings())
    upstream = Remembering()
    app = an_app(upstream, access)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield Bench(http, upstream, app)


def suitable(path: str) -> dict:
    """Write a body for a path."""
    body = dict(SUITABLE)
    body["data"] = [[1.0, 0.0]] if path == "entities/search" else [{"id": 1, "dense": [1.0, 0.0]}]
    if path == "collections/fields/add":
        body["schema"] = {"fieldName": "more", "dataType": "Int64", "nullable": True}
    if path == "collections/drop_function":
        body["FunctionName"] = "bm25"
    return body


@pytest.mark.parametrize("path", [name for name in PATHS if not name.endswith("_function")])
async def test_path_of_the_table_makes_its_calls(bench: Bench, path: str) -> None:
    """Every path answers, and makes the calls that the table says, in the database asked for."""
    reply = await bench.post(path, suitable(path))
    answer = reply.json()
    assert answer["code"] == 0, answer
    assert "data" in answer
    assert set(bench.upstream.names) == set(PATHS[path].rpcs)
    assert {metadata["dbname"] for metadata in bench.upstream.metadata} == {"second"}
    for name, request in bench.upstream.calls:
        descriptor = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name[name]
        if "db_name" in descriptor.input_type.fields_by_name:
            assert b"second" in request


@pytest.mark.parametrize("path", [name for name in PATHS if name.endswith("_function")])
async def test_path_of_a_function_reaches_its_rewriter(bench: Bench, path: str) -> None:
    """The gateway looks the function up itself, so the call has taken the way of gRPC calls."""
    answer = (await bench.post(path, suitable(path))).json()
    assert "data" in answer or answer["message"]
    assert bench.upstream.names == ["DescribeCollection"]


@pytest.mark.parametrize("path", sorted(REFUSED))
async def test_path_that_is_not_served_says_so(bench: Bench, path: str) -> None:
    """The reason is part of the answer, and nothing is called."""
    answer = (await bench.post(path, {})).json()
    assert answer == {
        "code": 65535,
        "message": f"{PREFIX}{path} is not served here. {REFUSED[path]}",
    }
    assert not bench.upstream.calls


def test_table_names_calls_of_the_protocol() -> None:
    """Every RPC that a path makes exists, and no path is both served and refused."""
    methods = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name
    assert {rpc for path in PATHS.values() for rpc in path.rpcs} <= set(methods)
    assert not PATHS.keys() & REFUSED.keys()


@pytest.mark.parametrize(
    ("given", "forwarded"),
    [
        ("Bearer root:Milvus", b"root:Milvus"),
        ("bearer  key-1 ", b"key-1"),
        (f"Basic {base64.b64encode(b'root:Milvus').decode()}", b"root:Milvus"),
    ],
)
async def test_credentials_go_on_as_grpc_clients_send_them(
    bench: Bench, given: str, forwarded: bytes
) -> None:
    """In base64, under the same key."""
    await bench.post("databases/list", {}, authorization=given)
    assert base64.b64decode(bench.upstream.metadata[0]["authorization"]) == forwarded


ALICE = AccessSettings(users={"alice": "secret"}, api_keys=("key-1",))


@pytest.mark.parametrize("bench", [ALICE], indirect=True)
@pytest.mark.parametrize(
    ("given", "is_known"),
    [
        ({"authorization": "Bearer alice:secret"}, True),
        ({"authorization": "Bearer key-1"}, True),
        ({"authorization": "Bearer alice:wrong"}, False),
        ({"authorization": "Digest alice"}, False),
        ({}, False),
    ],
)
async def test_who_is_not_known_is_not_served(
    bench: Bench, given: dict[str, str], is_known: bool
) -> None:
    """Milvus answers HTTP 401 and code 1800 in this one case."""
    reply = await bench.post("databases/list", {}, **given)
    assert reply.status_code == (200 if is_known else 401)
    assert reply.json()["code"] == (0 if is_known else 1800)
    assert bool(bench.upstream.calls) is is_known


@pytest.mark.parametrize("bench", [ALICE], indirect=True)
async def test_body_of_who_is_not_known_is_not_read(bench: Bench) -> None:
    """However large it is, it is not taken in."""
    read: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            read.append(number)
            yield b"x"

    reply = await bench.http.post(f"{PREFIX}databases/list", content=pieces())
    assert (reply.status_code, read) == (401, [])


@pytest.mark.parametrize(("compat", "code"), [("2.6", 65535), ("3.0", 1100)])
async def test_own_refusal_has_the_code_of_the_version(compat: str, code: int) -> None:
    """As gRPC clients get it."""
    upstream = Remembering()
    app = an_app(upstream, AccessSettings(), compat)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://test"
    ) as http:
        body = {"collectionName": "articles", "properties": {"milvane.functions": "{}"}}
        reply = await http.post(f"{PREFIX}collections/alter_properties", json=body)
    assert reply.json()["code"] == code
    assert not upstream.calls


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, 65535),
        (grpc.StatusCode.UNAUTHENTICATED, 1800),
        (grpc.StatusCode.PERMISSION_DENIED, 1401),
        (grpc.StatusCode.UNAVAILABLE, 2),
    ],
)
async def test_refusal_of_the_upstream_is_told(
    bench: Bench, status: grpc.StatusCode, code: int
) -> None:
    """Its own words arrive, under Milvus's code."""
    bench.upstream.refusal = UpstreamStatus(status, "in its own words")
    answer = (await bench.post("users/list", {})).json()
    assert answer == {"code": code, "message": "in its own words"}


async def test_patience_of_the_client_is_passed_on(bench: Bench) -> None:
    """The upstream is given the time that the client says it waits, and no limit without it."""
    await bench.post("databases/list", {}, request_timeout="5")
    await bench.post("databases/list", {}, request_timeout="soon")
    first, second = bench.upstream.timeouts
    assert first == pytest.approx(5, abs=1)
    assert second is None


@pytest.mark.parametrize("count", [0, 1, 32, 33, 1000])
async def test_answer_of_any_length_is_whole(bench: Bench, count: int) -> None:
    """Every row is there once, in order."""
    reply = milvus_pb2.QueryResults()
    column = reply.fields_data.add(field_name="id", type=schema_pb2.DataType.Int64)
    column.scalars.long_data.data.extend(range(count))
    bench.upstream.replies["Query"] = reply.SerializeToString()
    answer = (await bench.post("entities/query", {"collectionName": "articles"})).json()
    assert answer == {"code": 0, "data": [{"id": number} for number in range(count)], "cost": 0}


async def test_large_body_is_refused_as_it_arrives(bench: Bench) -> None:
    """Neither announced nor sent in pieces does it get in."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES):
            yield b"x" * 1000

    for content in (b"x" * (MAX_BODY_BYTES + 1), pieces()):
        reply = await bench.http.post(f"{PREFIX}databases/list", content=content)
        assert reply.json()["code"] == 1801
        assert "is larger than" in reply.json()["message"]


async def test_client_that_leaves_ends_the_work(bench: Bench) -> None:
    """What runs for it is cancelled, up to the upstream, and nothing is sent."""
    bench.upstream.holding = True
    events: asyncio.Queue[dict] = asyncio.Queue()
    sent: list[object] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"{PREFIX}databases/list",
        "headers": [],
    }

    async def send(message: object) -> None:
        sent.append(message)

    await events.put({"type": "http.request", "body": b"{}", "more_body": False})
    running = asyncio.ensure_future(bench.app(scope, events.get, send))
    await asyncio.wait_for(bench.upstream.held.wait(), 5)
    await events.put({"type": "http.disconnect"})
    await asyncio.wait_for(running, 5)
    assert bench.upstream.cancelled.is_set()
    assert not sent
