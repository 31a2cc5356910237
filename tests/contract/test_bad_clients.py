"""Clients that do not finish, flood, or speak something else are let go, and others are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from echoing import METHOD, PATIENCE_S, RpcBackend, echo_app, ended
from milvane.apis.listener import HttpListener
from milvane.gateway.port_sharing import HTTP2_PREFACE, SharedPort

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[..., Awaitable[Connection]]
LAST_REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"


@asynccontextmanager
async def a_port(
    *, patience_s: float = PATIENCE_S, max_connections: int = 100
) -> AsyncIterator[int]:
    """Share a port."""

    def listener(path: Path) -> HttpListener:
        return HttpListener(echo_app, path=path, drain_timeout_s=1, patience_s=patience_s)

    async with SharedPort(
        host="127.0.0.1",
        port=0,
        http2=RpcBackend,
        http1=listener,
        sniff_timeout_s=patience_s,
        max_connections=max_connections,
    ) as shared:
        yield shared.port


async def connect(port: int, said: bytes = b"") -> Connection:
    """Open a connection and say something."""
    connection = await asyncio.open_connection("127.0.0.1", port)
    connection[1].write(said)
    return connection


async def exchange(port: int, said: bytes) -> bytes:
    """Say something, and listen until the connection is closed."""
    connection = await connect(port, said)
    try:
        return await ended(connection)
    except ConnectionResetError:
        return b""


async def serves(port: int) -> bool:
    """Say whether both protocols are answered."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await channel.unary_unary(METHOD)(b"others", timeout=PATIENCE_S)
    return answer == b"others" and b"\r\nok\r\n" in await exchange(port, LAST_REQUEST)


@pytest.mark.parametrize(
    "said",
    [b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n", REQUEST, REQUEST + b"1"],
    ids=["half a line", "half a head", "no body", "half a body"],
)
async def test_request_that_is_not_finished_is_not_waited_for(said: bytes) -> None:
    """Who stops within a request is let go, without an answer to what was not asked."""
    async with a_port(patience_s=0.3) as port:
        connection = await connect(port, said)
        assert await serves(port)
        assert await ended(connection) == b""


async def test_head_that_comes_by_drops_is_not_waited_for() -> None:
    """One byte now and then does not prolong the time that a head may take."""
    async with a_port(patience_s=0.3) as port:
        reader, writer = await connect(port, b"GET / HTTP/1.1\r\n")
        closed = asyncio.ensure_future(reader.read())
        while not closed.done():
            writer.write(b"x")
            await asyncio.wait({closed}, timeout=0.05)
        assert isinstance(closed.exception(), ConnectionError) or closed.result() == b""
        writer.close()


async def test_body_that_moves_is_waited_for() -> None:
    """A slow upload takes longer than the patience, and is answered."""
    async with a_port(patience_s=0.5) as port:
        reader, writer = await connect(
            port, b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 8\r\n\r\n"
        )
        answer = asyncio.ensure_future(reader.read())
        for _ in range(8):
            await asyncio.wait({answer}, timeout=0.1)
            writer.write(b"x")
        assert (await asyncio.wait_for(answer, PATIENCE_S)).count(b"x") == 8
        writer.close()


async def test_idle_connections_are_bounded() -> None:
    """One connection more than allowed is closed; when others leave there is room again."""
    async with a_port(max_connections=5) as port, AsyncExitStack() as stack:
        idle = [await connect(port) for _ in range(5)]
        refused = await connect(port, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        stack.callback(refused[1].close)
        with suppress(ConnectionResetError):
            assert await ended(refused) == b""
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()

        assert await asyncio.wait_for(_serves_at_last(port), PATIENCE_S)


async def test_many_visits_leave_nothing_behind() -> None:
    """Connections that come, say a little and go are forgotten, whatever they said."""
    async with a_port(max_connections=50) as port:
        for said in (b"", b"PRI", b"GET", HTTP2_PREFACE, b"\x00" * 20):
            for _ in range(3):
                visits = [await connect(port, said) for _ in range(20)]
                for _, writer in visits:
                    writer.close()
                    await writer.wait_closed()
        assert await asyncio.wait_for(_serves_at_last(port), PATIENCE_S)


async def _serves_at_last(port: int) -> bool:
    while True:
        try:
            if await serves(port):
                return True
        except grpc.aio.AioRpcError:
            continue


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 900_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 150_000 + b"\r\n",
        b"GET /" + b"x" * 900_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: "
        + b"y" * 900_000
        + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=[
        "header",
        "headers",
        "path",
        "negative",
        "two lengths",
        "chunk",
        "trailer",
        "no host",
        "two hosts",
        "proxy",
        "not ascii",
    ],
)
async def test_head_that_is_wrong_is_refused(head: bytes) -> None:
    """Huge heads and those that can be read in two ways end the connection with 400, or at once."""
    async with a_port() as port:
        assert (await exchange(port, head))[:12] in {b"HTTP/1.1 400", b""}
        assert await serves(port)


async def test_offer_of_another_protocol_is_passed_over() -> None:
    """Java's HTTP client offers HTTP/2 with each first request, and sends its body all the same."""
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIA"
    async with a_port() as port:
        said = REQUEST.replace(b"host: x", b"host: x\r\n" + offer)
        together = await exchange(port, said + b"01" + LAST_REQUEST)
        first = await connect(port, said)
        await first[1].drain()
        first[1].write(b"01" + LAST_REQUEST)
        for answer in (together, await ended(first)):
            assert answer.count(b"HTTP/1.1 200") == 2
            assert b"\r\n01" in answer


async def test_offer_of_another_protocol_may_ask_to_close() -> None:
    """What else a client says of its connection holds."""
    async with a_port() as port:
        said = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, close\r\nupgrade: h2c\r\n\r\n"
        answer = await asyncio.wait_for(exchange(port, said), PATIENCE_S)
        assert b"connection: close" in answer


async def test_many_offers_of_another_protocol_are_passed_over() -> None:
    """Requests in a row may each have one."""
    async with a_port() as port:
        offer = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
        answer = await exchange(port, offer * 1000 + LAST_REQUEST)
        assert answer.count(b"HTTP/1.1 200") == 1001


async def test_old_http_is_answered_and_closed() -> None:
    """HTTP/1.0 has no connections that stay."""
    async with a_port() as port:
        said = b"POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nok"
        answer = await exchange(port, said)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"ok" in answer


async def test_requests_in_a_row_are_answered_in_order() -> None:
    """Several requests that come at once, before any answer, are answered one after the other."""
    async with a_port() as port:
        row = [REQUEST + b"%02d" % number for number in range(20)]
        row[-1] = row[-1].replace(b"host: x", b"host: x\r\nconnection: close")
        answer = await exchange(port, b"".join(row))
        places = [answer.index(b"\r\n%02d\r\n" % number) for number in range(20)]
        assert places == sorted(places)
        assert answer.count(b"HTTP/1.1 200") == 20


async def test_frames_that_are_none_end_their_connection_only() -> None:
    """What comes after the preface and is no HTTP/2 ends that connection."""
    async with a_port() as port:
        await exchange(port, HTTP2_PREFACE + b"\xff" * 1000)
        assert await serves(port)


def test_garbage_never_harms_others() -> None:
    """Whatever a client says first, the connection ends or waits, and both protocols are served."""
    loop = asyncio.new_event_loop()
    context = a_port(patience_s=0.2)
    port = loop.run_until_complete(context.__aenter__())

    @given(said=st.binary(max_size=300) | st.binary(max_size=50).map(HTTP2_PREFACE.__add__))
    @example(said=HTTP2_PREFACE[:-1] + b"x")
    @example(said=b"\r\n\r\n\r\n")
    @settings(max_examples=60, deadline=None)
    def check(said: bytes) -> None:
        async def talk() -> bytes:
            connection = await connect(port, said)
            connection[1].write_eof()
            try:
                return await ended(connection)
            except ConnectionResetError:
                return b""

        loop.run_until_complete(asyncio.wait_for(talk(), PATIENCE_S))

    try:
        check()
        assert loop.run_until_complete(serves(port))
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


async def test_port_of_http_alone_is_bounded_as_well() -> None:
    """Where nothing is shared, one connection more than allowed is closed too."""
    listener = HttpListener(
        echo_app, host="127.0.0.1", port=0, drain_timeout_s=1, patience_s=5, max_connections=2
    )
    async with listener:
        idle = [await connect(listener.port) for _ in range(2)]
        assert await exchange(listener.port, LAST_REQUEST) == b""
        idle[0][1].close()
        await idle[0][1].wait_closed()
        while b"200" not in await exchange(listener.port, LAST_REQUEST):
            continue
        idle[1][1].close()
