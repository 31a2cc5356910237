"""TLS on the shared port: who gets in, and what is never said in the clear."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certificates import Authority, Pair
from echoing import METHOD, PATIENCE_S, RpcBackend, echo_app, ended
from milvane.apis.listener import HttpListener
from milvane.gateway.port_sharing import SharedPort
from milvane.gateway.tls import TlsIdentity, TlsSettings


@dataclass
class Bench:
    """A shared port that speaks TLS, and who may sign for it."""

    shared: SharedPort
    authority: Authority
    pair: Pair
    now: list[float]
    seen: list[str]
    """Schemes that the application was told."""

    @property
    def url(self) -> str:
        """Where HTTP clients connect."""
        return f"https://127.0.0.1:{self.shared.port}/"

    def trust(self, client: Pair | None = None) -> ssl.SSLContext:
        """What a client trusts, and shows."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context

    def channel(self, client: Pair | None = None) -> grpc.aio.Channel:
        """Open a channel of its own."""
        shown = (client.key.read_bytes(), client.certificate.read_bytes()) if client else ()
        credentials = grpc.ssl_channel_credentials(self.authority.file.read_bytes(), *shown)
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        address = f"127.0.0.1:{self.shared.port}"
        return grpc.aio.secure_channel(address, credentials, options)

    async def rpc(self, content: bytes, client: Pair | None = None) -> bytes:
        """Make one call over a connection of its own."""
        async with self.channel(client) as channel:
            return await channel.unary_unary(METHOD)(content, timeout=PATIENCE_S)

    async def http(self, content: bytes, client: Pair | None = None) -> bytes:
        """Make one request over a connection of its own."""
        async with httpx.AsyncClient(verify=self.trust(client), timeout=PATIENCE_S) as http:
            return (await http.post(self.url, content=content)).content

    async def raw(self, said: bytes) -> bytes:
        """Say something on a bare connection; return what comes until it is closed."""
        connection = await asyncio.open_connection("127.0.0.1", self.shared.port)
        connection[1].write(said)
        connection[1].write_eof()
        try:
            return await ended(connection)
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def a_bench(
    folder: Path, *, asks: bool = False, max_connections: int = 100, **given: object
) -> AsyncIterator[Bench]:
    """Share a port that speaks TLS."""
    authority = Authority(folder)
    pair = authority.issue("server")
    ca = {"client_ca": authority.file} if asks else {}
    files = {"certificate": pair.certificate, "private_key": pair.key, **ca}
    now, seen = [0.0], []

    async def app(scope: dict, receive: object, send: object) -> None:
        seen.append(scope["scheme"])
        await echo_app(scope, receive, send)

    async with SharedPort(
        host="127.0.0.1",
        port=0,
        http2=RpcBackend,
        http1=lambda path: HttpListener(app, path=path, drain_timeout_s=1, is_secure=True),
        sniff_timeout_s=PATIENCE_S,
        tls=TlsIdentity(TlsSettings(**files, **given), ["http/1.1", "h2"], clock=lambda: now[0]),
        max_connections=max_connections,
    ) as shared:
        yield Bench(shared, authority, pair, now, seen)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A port that asks for no client certificate."""
    async with a_bench(tmp_path) as bench:
        yield bench


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 20_000_000])
async def test_both_protocols_pass_whole(bench: Bench, size: int) -> None:
    """Messages of every size arrive as they were sent, also beyond one TLS record."""
    content = os.urandom(min(size, 1000)) * (size // 1000 or 1)
    replies = await asyncio.gather(bench.rpc(content), bench.http(content), bench.rpc(content))
    assert all(reply == content for reply in replies)
    assert bench.seen == ["https"]


async def test_versions_below_the_oldest_are_refused(tmp_path: Path) -> None:
    """A client that takes 1.2 only is not let in where 1.3 is asked for."""
    async with a_bench(tmp_path, min_version="1.3") as bench:
        assert await bench.http(b"1.3") == b"1.3"
        context = bench.trust()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("127.0.0.1", bench.shared.port, ssl=context)


async def test_older_version_is_spoken(bench: Bench) -> None:
    """TLS 1.2 works as well, and says goodbye in order."""
    context = bench.trust()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    connection = await asyncio.open_connection("127.0.0.1", bench.shared.port, ssl=context)
    connection[1].write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert (await ended(connection)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [1, 4096, 16_384, 50_000, 300_000])
async def test_client_that_has_said_all_is_answered(bench: Bench, size: int) -> None:
    """TLS's goodbye ends what the client says, not what it hears; its socket stays open."""
    from_server, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = bench.trust().wrap_bio(from_server, to_server, server_hostname="127.0.0.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.shared.port)

    async def until_done(step: Callable[[], object]) -> None:
        while True:
            with suppress(ssl.SSLWantReadError):
                step()
                return
            writer.write(to_server.read())
            from_server.write(await asyncio.wait_for(reader.read(65536), PATIENCE_S))

    await until_done(client.do_handshake)
    client.write(b"POST / HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
    with suppress(ssl.SSLWantReadError):
        client.unwrap()
    writer.write(to_server.read())
    heard = b""
    while heard.count(b"x") < size:
        try:
            heard += client.read(65536)
        except ssl.SSLWantReadError:
            piece = await asyncio.wait_for(reader.read(65536), PATIENCE_S)
            assert piece, "closed before the answer"
            from_server.write(piece)
    assert heard.startswith(b"HTTP/1.1 200")
    writer.close()


async def test_clients_need_a_certificate_where_one_is_asked_for(tmp_path: Path) -> None:
    """Who has one of the named authority is served; none, or another's, is not."""
    async with a_bench(tmp_path, asks=True) as bench:
        client = bench.authority.issue("client")
        assert await bench.rpc(b"x", client) == b"x"
        assert await bench.http(b"x", client) == b"x"
        stranger = Authority(tmp_path, "stranger").issue("forged")
        for shown in (None, stranger):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bench.rpc(b"x", shown)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            with pytest.raises((httpx.HTTPError, ssl.SSLError)):
                await bench.http(b"x", shown)
        assert bench.seen == ["https"], "nobody else came to the application"


async def test_rotated_certificate_is_shown_to_the_next_client(bench: Bench) -> None:
    """An open connection goes on with the old one."""
    async with bench.channel() as channel:
        call = channel.unary_unary(METHOD)
        assert await call(b"before", timeout=PATIENCE_S) == b"before"
        other = Authority(bench.authority.file.parent, "other")
        renewed = other.issue("renewed")
        renewed.certificate.replace(bench.pair.certificate)
        renewed.key.replace(bench.pair.key)
        bench.now[0] += 5
        assert await call(b"after", timeout=PATIENCE_S) == b"after"
        with pytest.raises(httpx.ConnectError):
            await bench.http(b"x")
    bench.authority.file.write_bytes(other.file.read_bytes())
    assert await bench.http(b"renewed") == b"renewed"


def test_plaintext_is_never_answered(tmp_path: Path) -> None:
    """Whatever comes in the clear gets nothing, or a TLS alert, and reaches no server."""
    loop = asyncio.new_event_loop()
    context = a_bench(tmp_path)
    bench = loop.run_until_complete(context.__aenter__())

    @given(said=st.binary(max_size=200) | st.binary(max_size=200).map(lambda some: b"\x16" + some))
    @example(said=b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    @example(said=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    @example(said=b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    @example(said=b"")
    @settings(max_examples=200, deadline=None)
    def check(said: bytes) -> None:
        answer = loop.run_until_complete(bench.raw(said))
        assert answer[:1] in {b"", b"\x15"}
        assert answer == b"" or said[:1] == b"\x16"
        assert len(answer) <= 7, "one alert and no more"

    try:
        check()
        assert bench.seen == []
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"])
async def test_handshake_is_not_waited_for_long(tmp_path: Path, said: bytes) -> None:
    """Who begins a handshake and does not go on is let go; others are served meanwhile."""
    async with a_bench(tmp_path, handshake_timeout_s=0.3) as bench:
        connection = await asyncio.open_connection("127.0.0.1", bench.shared.port)
        connection[1].write(said)
        assert await bench.http(b"others") == b"others"
        assert await ended(connection) == b""


async def test_port_of_one_protocol_closes_the_other(tmp_path: Path) -> None:
    """Where only gRPC is served, HTTP/1.1 over TLS gets no answer."""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    settings_ = TlsSettings(certificate=pair.certificate, private_key=pair.key)
    async with SharedPort(
        host="127.0.0.1",
        port=0,
        http2=RpcBackend,
        http1=None,
        sniff_timeout_s=PATIENCE_S,
        tls=TlsIdentity(settings_, ["h2"]),
    ) as shared:
        bench = Bench(shared, authority, pair, [], [])
        assert await bench.rpc(b"x") == b"x"
        with pytest.raises(httpx.HTTPError):
            await bench.http(b"x")
