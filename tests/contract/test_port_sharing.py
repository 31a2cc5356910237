"""One port for gRPC and HTTP: what passes, what ends, and what does not hold up others."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest

from echoing import METHOD, PATIENCE_S, RpcBackend, echo_app, ended
from milvane.apis.listener import HttpListener
from milvane.domain.errors import Conflict
from milvane.gateway.port_sharing import HTTP2_PREFACE, SharedPort


@dataclass
class Bench:
    """A shared port, and what is behind it."""

    shared: SharedPort
    rpc: RpcBackend
    folder: Path

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.shared.port}"

    def channel(self, **options: int) -> grpc.aio.Channel:
        """Open a channel of its own."""
        given = [(key.replace("__", "."), value) for key, value in options.items()]
        unlimited = ("grpc.max_receive_message_length", -1)
        return grpc.aio.insecure_channel(self.address, options=[*given, unlimited])


@asynccontextmanager
async def a_bench(sniff_timeout_s: float = PATIENCE_S) -> AsyncIterator[Bench]:
    """Share a port."""
    backends: list[RpcBackend] = []

    def rpc(path: Path) -> RpcBackend:
        backends.append(RpcBackend(path))
        return backends[-1]

    async with SharedPort(
        host="127.0.0.1",
        port=0,
        http2=rpc,
        http1=lambda path: HttpListener(echo_app, path=path, drain_timeout_s=1),
        sniff_timeout_s=sniff_timeout_s,
    ) as shared:
        yield Bench(shared, backends[0], backends[0].path.parent)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A shared port with patience."""
    async with a_bench() as bench:
        yield bench


async def call(channel: grpc.aio.Channel, request: bytes, method: str = METHOD) -> bytes:
    """Make one call."""
    return await channel.unary_unary(method)(request, timeout=PATIENCE_S)


@pytest.mark.parametrize("size", [0, 1, 100_000, 20_000_000])
async def test_both_protocols_pass_whole(bench: Bench, size: int) -> None:
    """Messages of every size arrive as they were sent, at the same time on one port."""
    content = os.urandom(min(size, 1000)) * (size // 1000 or size)
    async with bench.channel() as channel, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        replies = await asyncio.gather(
            call(channel, content),
            http.post(f"http://{bench.address}/", content=content),
            call(channel, content[::-1]),
        )
    assert replies[0] == content
    assert replies[1].content == content
    assert replies[2] == content[::-1]


async def test_many_connections_do_not_mix(bench: Bench) -> None:
    """Each gets its own answers, although all share one buffer."""
    contents = [bytes([number]) * 300_000 for number in range(20)]

    async def exchange(content: bytes) -> bytes:
        async with bench.channel(grpc__use_local_subchannel_pool=1) as channel:
            return await call(channel, content)

    assert await asyncio.gather(*map(exchange, contents)) == contents


@pytest.mark.parametrize("pause_after", [1, 2, 3, 10, 23])
async def test_preface_may_come_in_pieces(bench: Bench, pause_after: int) -> None:
    """What begins as HTTP/2 does waits until it is clear, and is answered as HTTP/2."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.shared.port)
    writer.write(HTTP2_PREFACE[:pause_after])
    await writer.drain()
    await asyncio.sleep(0)
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    writer.write(HTTP2_PREFACE[pause_after:] + settings)
    frame = await asyncio.wait_for(reader.readexactly(9), PATIENCE_S)
    assert frame[3] == 4, "a server begins with its SETTINGS frame"
    writer.close()


@pytest.mark.parametrize("first", [b"P", b"PR", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"])
async def test_silent_client_is_let_go(first: bytes) -> None:
    """Who does not say what it speaks does not hold a connection for ever, nor others up."""
    async with a_bench(sniff_timeout_s=0.05) as bench:
        connection = await asyncio.open_connection("127.0.0.1", bench.shared.port)
        connection[1].write(first)
        assert await ended(connection) == b""
        async with bench.channel() as channel:
            assert await call(channel, b"others") == b"others"


async def test_client_that_leaves_early_costs_nothing(bench: Bench) -> None:
    """A port scanner's visit ends with its connection."""
    for first in (b"", b"PRI"):
        connection = await asyncio.open_connection("127.0.0.1", bench.shared.port)
        connection[1].write(first)
        connection[1].write_eof()
        assert await ended(connection) == b""


@pytest.mark.parametrize("said", [b"PRO * HTTP/9\r\n\r\n", b"\x16\x03\x01", b"\x00" * 100 + b"\n"])
async def test_other_protocols_are_told_so(bench: Bench, said: bytes) -> None:
    """What is neither protocol is answered by the HTTP server, and ended."""
    connection = await asyncio.open_connection("127.0.0.1", bench.shared.port)
    connection[1].write(said)
    connection[1].write_eof()
    assert (await ended(connection))[:12] in {b"HTTP/1.1 400", b""}


async def test_client_that_goes_away_ends_the_work(bench: Bench) -> None:
    """A connection that breaks cancels its calls on the other side."""
    channel = bench.channel()
    running = asyncio.ensure_future(call(channel, b"x", "/test.Service/Hold"))
    await asyncio.wait_for(bench.rpc.held.wait(), PATIENCE_S)
    await channel.close(None)
    await asyncio.wait_for(bench.rpc.cancelled.wait(), PATIENCE_S)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await running


async def test_server_that_goes_away_is_seen_by_the_client(bench: Bench) -> None:
    """A call that runs when its server ends at once fails as unavailable, and does not hang."""
    async with bench.channel() as channel:
        running = asyncio.ensure_future(call(channel, b"x", "/test.Service/Hold"))
        await asyncio.wait_for(bench.rpc.held.wait(), PATIENCE_S)
        await bench.rpc.server.stop(None)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_running_calls_finish_at_the_end() -> None:
    """Closing the port takes no new connections, and waits for the calls that run."""
    async with a_bench() as bench, bench.channel() as channel:
        running = asyncio.ensure_future(call(channel, b"late", "/test.Service/Hold"))
        await asyncio.wait_for(bench.rpc.held.wait(), PATIENCE_S)
        closing = asyncio.ensure_future(bench.shared.__aexit__(None, None, None))
        await _until(lambda: _refuses(bench.shared.port))
        bench.rpc.released.set()
        assert await running == b"late"
        await asyncio.wait_for(closing, PATIENCE_S)
    assert not bench.folder.exists()


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async def wait() -> None:
        while not await holds():
            continue

    await asyncio.wait_for(wait(), PATIENCE_S)


async def _refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def test_idle_client_keeps_its_connection(bench: Bench) -> None:
    """Pings pass in both directions, so an idle channel stays and is used again."""
    async with bench.channel(
        grpc__keepalive_time_ms=20,
        grpc__keepalive_timeout_ms=2000,
        grpc__keepalive_permit_without_calls=1,
        grpc__http2__max_pings_without_data=0,
    ) as channel:
        await call(channel, b"first")
        ready = asyncio.ensure_future(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ready, 0.3)
        assert await call(channel, b"again") == b"again"


async def test_sockets_behind_the_port_are_the_users_own(bench: Bench) -> None:
    """Nobody else on the machine reaches the servers past the port."""
    assert stat.S_IMODE(bench.folder.stat().st_mode) == 0o700


async def test_taken_port_is_told(bench: Bench) -> None:
    """The message says what to do, and nothing is left behind."""
    second = SharedPort(
        host="127.0.0.1",
        port=bench.shared.port,
        http2=RpcBackend,
        http1=lambda path: HttpListener(echo_app, path=path, drain_timeout_s=1),
        sniff_timeout_s=1,
    )
    with pytest.raises(Conflict, match="Is another server running"):
        await second.__aenter__()


async def test_slow_reader_does_not_fill_the_memory(bench: Bench) -> None:
    """While a client does not read, its server is not read from, and others are served."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(slow, ("127.0.0.1", bench.shared.port))
    size = 3_000_000
    head = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
    await loop.sock_sendall(slow, head.encode() + b"x" * size)
    async with bench.channel() as channel:
        assert await call(channel, b"others") == b"others"
    received = 0
    while piece := await asyncio.wait_for(loop.sock_recv(slow, 65536), PATIENCE_S):
        received += len(piece)
    assert received > size
    slow.close()
