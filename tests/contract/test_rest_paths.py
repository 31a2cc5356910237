"""REST v2 over an upstream that remembers what it is asked: the table, credentials and limits."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import httpx
import pytest
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.gateway.rest_v2.app import RestApp
from milvane.gateway.rest_v2.paths import PATHS, PREFIX, REFUSED
from milvane.instances.upstream import UpstreamStatus
from milvane.serving.access import AccessSettings
from rest_benches import MAX_BODY_BYTES, Remembering, an_app, articles

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
class Bench:
    """A client of the application, and what is behind it."""

    http: httpx.AsyncClient
    upstream: Remembering
    app: RestApp

    async def post(self, path: str, body: dict, **headers: str) -> httpx.Response:
        """Call a path."""
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.http.post(PREFIX + path, json=body, headers=given)


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


ROW = {"collectionName": "articles", "dbName": "second", "data": [{"id": 1, "dense": [1.0, 0.0]}]}


async def test_description_is_asked_for_once(bench: Bench) -> None:
    """A write or search of a known collection is one call, until a schema may have changed."""
    await bench.post("entities/insert", ROW)
    bench.upstream.calls.clear()
    for path in ("insert", "upsert", "get", "delete", "search", "hybrid_search"):
        answer = (await bench.post(f"entities/{path}", suitable(f"entities/{path}"))).json()
        assert answer["code"] == 0, answer
    assert bench.upstream.names == ["Insert", "Upsert", "Query", "Delete", "Search", "HybridSearch"]
    bench.upstream.calls.clear()
    for path in ("collections/drop", "entities/insert"):
        await bench.post(path, suitable(path))
    assert bench.upstream.names == ["DropCollection", "DescribeCollection", "Insert"]


async def test_change_past_the_gateway_is_seen(bench: Bench) -> None:
    """A row that does not fit the known schema is tried with the one that the upstream has now."""
    await bench.post("entities/insert", ROW)
    changed = articles()
    changed.schema.fields.add(name="added", data_type=schema_pb2.DataType.Int64, nullable=True)
    bench.upstream.replies["DescribeCollection"] = changed.SerializeToString()
    row = {"id": 2, "dense": [0.0, 1.0], "added": 7}
    bench.upstream.calls.clear()
    answer = (await bench.post("entities/insert", ROW | {"data": [row]})).json()
    assert answer["code"] == 0, answer
    assert bench.upstream.names == ["DescribeCollection", "Insert"]
    sent = milvus_pb2.InsertRequest.FromString(bench.upstream.calls[-1][1])
    assert {column.field_name for column in sent.fields_data} == {"id", "dense", "added"}


async def test_refusal_of_the_same_schema_is_final(bench: Bench) -> None:
    """What does not fit the current schema either is refused, and nothing is written."""
    await bench.post("entities/insert", ROW)
    bench.upstream.calls.clear()
    answer = (await bench.post("entities/insert", ROW | {"data": [{"id": "x"}]})).json()
    assert answer["code"] == 1804
    assert bench.upstream.names == ["DescribeCollection"]
