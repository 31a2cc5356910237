"""The gateway between a raw gRPC client and a loopback upstream that keeps every byte."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import grpc
import pytest
from pydantic import SecretStr
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from gateway_bench import Bench, a_bench, a_write, described, with_function
from milvane.domain.callers import Caller
from milvane.gateway.calls import SERVICE
from milvane.gateway.interception import REWRITTEN
from milvane.serving.access import AccessSettings

METHODS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods
PASSED = sorted(
    method.name
    for method in METHODS
    if method.name not in REWRITTEN and not (method.client_streaming or method.server_streaming)
)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Put a gateway between a raw client and a recorder."""
    async with a_bench() as bench:
        yield bench


@pytest.mark.parametrize("name", PASSED)
async def test_call_that_is_not_ours_passes_as_the_same_bytes(bench: Bench, name: str) -> None:
    """Neither the request nor the reply is decoded, so they need not even be messages."""
    bench.upstream.replies[name] = b"\xff\xfereply\x00"
    assert await bench.call(name, b"\xffnot a message\x00") == b"\xff\xfereply\x00"
    assert bench.upstream.calls[0][:2] == (SERVICE + name, b"\xffnot a message\x00")


@pytest.mark.parametrize("method", [f"{SERVICE}InventedNextYear", "/grpc.health.v1.Health/Check"])
async def test_unknown_call_passes_as_well(bench: Bench, method: str) -> None:
    """What the protocol does not have yet is the upstream's to know."""
    await bench.call(method, b"abc")
    assert bench.upstream.calls[0][:2] == (method, b"abc")


async def test_stream_passes_in_both_directions(bench: Bench) -> None:
    """The streaming calls keep their shape."""
    call = bench.channel.stream_stream(f"{SERVICE}CreateReplicateStream")(iter([b"ab", b"cd"]))
    assert [reply async for reply in call] == [b"ba", b"dc"]


async def test_metadata_is_passed_on(bench: Bench) -> None:
    """Who asks, and for which database, reaches the upstream."""
    sent = {"authorization": "cm9vdDpNaWx2dXM=", "dbname": "second", "tenant": "north"}
    await bench.call("HasCollection", **sent)
    assert sent.items() <= bench.upstream.calls[0][2].items()


async def test_refusal_of_the_upstream_is_passed_on(bench: Bench) -> None:
    """Its status and words arrive as they are."""
    bench.upstream.refusals["FlushAll"] = (grpc.StatusCode.UNIMPLEMENTED, "not here")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.call("FlushAll")
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "not here",
    )


async def test_missing_upstream_is_a_retriable_status(bench: Bench) -> None:
    """Clients try again on UNAVAILABLE."""
    await bench.stop_upstream.stop(None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.call("HasCollection")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_caller_that_leaves_ends_the_upstreams_work(bench: Bench) -> None:
    """A cancelled call is cancelled all the way."""
    bench.upstream.holding.add("Query")
    call = asyncio.create_task(bench.call("Query"))
    await asyncio.wait_for(bench.upstream.held.wait(), 5)
    call.cancel()
    await asyncio.wait_for(bench.upstream.cancelled.wait(), 5)


@pytest.mark.parametrize(
    "name", sorted(set(REWRITTEN) - {"DescribeCollection", "BatchDescribeCollection"})
)
async def test_damaged_message_is_refused_in_a_reply(bench: Bench, name: str) -> None:
    """The server says what it could not read, in the reply's own status, and lives."""
    reply = await bench.call(name, b"\xff\xff\xff\xff")
    descriptor = next(method for method in METHODS if method.name == name).output_type
    if descriptor.name == "Status":
        status = common_pb2.Status.FromString(reply)
    else:
        answer = getattr(milvus_pb2, descriptor.name).FromString(reply)
        status = answer.alter_status if name == "AlterCollectionSchema" else answer.status
    assert status.code == 65535
    assert "cannot be decoded" in status.reason
    assert not bench.upstream.calls


async def test_oversized_message_is_refused(bench: Bench) -> None:
    """The limit holds before the message is taken in, and the server lives."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.call("HasCollection", b"x" * (2 << 20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await bench.call("HasCollection", b"x")


async def test_rows_of_a_plain_collection_pass_as_the_same_bytes(bench: Bench) -> None:
    """Without a function an insert is not rewritten, only looked up once."""
    bench.upstream.replies["DescribeCollection"] = described()
    request = a_write("one") + b"\xca\x3e\x03new"  # a field that no protocol has yet
    for _ in range(2):
        await bench.call("Insert", request)
    names = [call[0].rpartition("/")[2] for call in bench.upstream.calls]
    assert names == ["DescribeCollection", "Insert", "Insert"]
    assert bench.upstream.calls[-1][1] == request
    assert bench.engine.embedded_texts == 0


async def test_rows_with_text_get_their_vectors(bench: Bench) -> None:
    """The client's bytes go on in front, the vectors of the distinct texts behind them."""
    await with_function(bench)
    request = a_write("one", "two", "one")
    await bench.call("Insert", request)
    sent = bench.upstream.calls[-1][1]
    assert sent.startswith(request)
    vectors = milvus_pb2.InsertRequest.FromString(sent).fields_data[2].vectors
    data = vectors.float_vector.data
    assert (vectors.dim, len(data)) == (1024, 3 * 1024)
    assert data[:1024] == data[2048:]
    assert data[:1024] != data[1024:2048]
    assert bench.engine.embedded_texts == 2


@pytest.mark.parametrize("texts", [("good", ""), ("good", "x" * 101)])
async def test_refused_rows_cost_nothing(bench: Bench, texts: tuple[str, ...]) -> None:
    """Nothing is embedded, and nothing reaches the upstream."""
    await with_function(bench)
    before = len(bench.upstream.calls)
    reply = milvus_pb2.MutationResult.FromString(await bench.call("Insert", a_write(*texts)))
    assert reply.status.code == 65535
    names = [call[0].rpartition("/")[2] for call in bench.upstream.calls[before:]]
    assert names == ["DescribeCollection"]
    assert bench.engine.embedded_texts == 0


async def test_rows_for_another_revision_are_refused(bench: Bench) -> None:
    """A client whose schema is old is told to refresh it."""
    await with_function(bench)
    reply = await bench.call("Insert", a_write("one", revision=12345))
    status = milvus_pb2.MutationResult.FromString(reply).status
    assert status.error_code == common_pb2.ErrorCode.SchemaMismatch
    assert bench.engine.embedded_texts == 0


async def test_missing_collection_is_told_before_anything_else(bench: Bench) -> None:
    """The words are Milvus's, with database and collection."""
    bench.upstream.replies["DescribeCollection"] = milvus_pb2.DescribeCollectionResponse(
        status=common_pb2.Status(code=100, reason="gone")
    ).SerializeToString()
    reply = await bench.call("Insert", a_write("one"), dbname="second")
    status = milvus_pb2.MutationResult.FromString(reply).status
    assert status.code == 100
    assert status.reason == "collection not found[database=second][collection=articles]"


async def test_change_of_the_schema_is_seen_by_the_next_call(bench: Bench) -> None:
    """After a call that may change a schema, what was known is asked for again."""
    bench.upstream.replies["DescribeCollection"] = described()
    await bench.call("Insert", a_write("one"))
    bench.upstream.replies["DropCollection"] = b""
    await bench.call("DropCollection")
    await bench.call("Insert", a_write("one"))
    names = [call[0].rpartition("/")[2] for call in bench.upstream.calls]
    assert names == [
        "DescribeCollection",
        "Insert",
        "DropCollection",
        "DescribeCollection",
        "Insert",
    ]


CLOSED = AccessSettings(users={"root": SecretStr("Milvus")}, api_keys=[SecretStr("key-1")])


@pytest.mark.parametrize("token", ["root:Milvus", "key-1"])
async def test_who_is_known_is_let_in(token: str) -> None:
    """Users and keys are sent as Milvus's clients send them."""
    async with a_bench(CLOSED) as bench:
        await bench.call("HasCollection", authorization=base64.b64encode(token.encode()).decode())
    assert len(bench.upstream.calls) == 1


async def test_texts_are_embedded_for_who_calls() -> None:
    """The engine, far below, can tell whose they are."""
    root = {"authorization": base64.b64encode(b"root:Milvus").decode()}
    async with a_bench(CLOSED) as bench:
        await with_function(bench, **root)
        await bench.call("Insert", a_write("one"), **root)
    assert bench.engine.callers[-1] == Caller(name="root", tenant="root")


@pytest.mark.parametrize("name", ["HasCollection", "Insert", "InventedNextYear"])
@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "missing authorization in header"),
        ({"authorization": "root:Milvus"}, "invalid token format"),
        ({"authorization": base64.b64encode(b"root:no").decode()}, "auth check failure"),
    ],
)
async def test_who_is_not_known_is_refused_at_once(
    name: str, metadata: dict[str, str], words: str
) -> None:
    """Nothing is looked up, embedded or passed on; clients do not try again."""
    async with a_bench(CLOSED) as bench:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bench.call(name, a_write("text"), **metadata)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert words in caught.value.details()
    assert not bench.upstream.calls
    assert bench.engine.embedded_texts == 0


async def test_stream_needs_credentials_as_well() -> None:
    """No call is left out."""
    async with a_bench(CLOSED) as bench:
        call = bench.channel.stream_stream(f"{SERVICE}CreateReplicateStream")(iter([b"ab"]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [reply async for reply in call]
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
