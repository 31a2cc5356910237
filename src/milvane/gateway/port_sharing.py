"""
One TCP port for two protocols: gRPC goes to one server of this process, HTTP/1.1 to another.

A connection's first bytes say which it is: every HTTP/2 connection opens with the same 24 bytes.
From then on its bytes are carried, unread, to a Unix socket of that server and back. TLS ends here,
so that both servers have one certificate and one time limit. Why so, and what it costs, is in
docs/decisions.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import anyio
from typing_extensions import Self

from milvane.domain.errors import Conflict
from milvane.gateway.carrying import WOULD_BLOCK, Pair
from milvane.gateway.tls import TlsIdentity
from milvane.instances.socket_folders import socket_folder

logger = logging.getLogger(__name__)

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every HTTP/2 client says first (RFC 9113, section 3.4)."""

_CHUNK_BYTES = 128 * 1024
_ACCEPT_PAUSE_S = 0.2
_BACKLOG = 2048
_HANDSHAKE = b"\x16"
"""Every TLS connection opens with a record of this type (RFC 8446, section 5.1)."""
_FILES_PER_CONNECTION = 3
_FILES_FOR_OTHERS = 256
_FULL_IS_TOLD_EVERY_S = 10.0

_T = TypeVar("_T")

Backend = Callable[[Path], AbstractAsyncContextManager[object]]
"""Makes a server that listens on a Unix socket while its context is open."""


def is_http2(first: bytes) -> bool | None:
    """
    Say whether a connection is HTTP/2 from the bytes that have come so far.

    Returns:
        None if more bytes are needed to know.
    """
    if len(first) >= len(HTTP2_PREFACE):
        return first.startswith(HTTP2_PREFACE)
    return None if HTTP2_PREFACE.startswith(first) else False


class SharedPort:
    """Listens for one protocol or two, and runs their servers, while its context is open."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        http2: Backend | None,
        http1: Backend | None,
        sniff_timeout_s: float,
        tls: TlsIdentity | None = None,
        max_connections: int = 4096,
        option: str = "--grpc-port",
    ) -> None:
        """
        Describe the port; it is bound when the context is entered.

        Args:
            host: Address to listen on.

            port: 0 for a free one.

            http2: The server of connections that begin as HTTP/2 does; none to close them.

            http1: The server of all others; it also answers what is no protocol at all. None to
                close them.

            sniff_timeout_s: How long a connection may leave open which it is.

            tls: With whose certificate clients are greeted; none for a port that does not encrypt.

            max_connections: Open at once; one more is closed as it comes. Fewer if the process may
                not open as many files.

            option: The command's flag that chooses another port.
        """
        self._host = host
        self._backends = (http1, http2)
        self._sniff_timeout_s = sniff_timeout_s
        self._tls = tls
        self._max_connections = _bound(max_connections)
        self._told_full_at = -_FULL_IS_TOLD_EVERY_S
        self._option = option
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._pairs: set[Pair] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._paths: tuple[Path, ...] = ()
        self._stack = AsyncExitStack()
        self.port = port
        """The port that is really bound, once started."""

    async def __aenter__(self) -> Self:
        """
        Start the servers, bind, and begin to take connections.

        Raises:
            Conflict: If the address is taken or is not this machine's.
        """
        async with AsyncExitStack() as stack:
            # Nobody else may reach the sockets behind the port: the folder is the user's own.
            folder = stack.enter_context(socket_folder())
            stack.callback(self._let_go)
            self._paths = (folder / "1", folder / "2")
            for backend, path in zip(self._backends, self._paths, strict=True):
                if backend is not None:
                    await stack.enter_async_context(backend(path))
            listening = stack.enter_context(self._bind())
            accepting = asyncio.create_task(self._accept(listening), name="milvus-port")
            stack.push_async_callback(_cancel, accepting)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take no new connections, let both servers finish theirs, then drop what is left."""
        with anyio.CancelScope(shield=True):
            await self._stack.aclose()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._host, self.port))
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise Conflict(
                f"cannot listen on {self._host}:{self.port}. Is another server running? "
                f"Choose another port with {self._option}"
            ) from error
        listening.setblocking(False)  # noqa: FBT003 - the library's signature
        self.port = listening.getsockname()[1]
        return listening

    def _let_go(self) -> None:
        for task in self._starting:
            task.cancel()
        for pair in list(self._pairs):
            pair.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except OSError as error:
                # No more file descriptors, as a rule: those who wait are taken when some are free.
                logger.warning("cannot take a connection: %s", error)
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            if len(self._pairs) + len(self._starting) >= self._max_connections:
                client.close()
                self._tell_full()
                continue
            task = asyncio.create_task(self._start(client))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def _tell_full(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_full_at >= _FULL_IS_TOLD_EVERY_S:
            self._told_full_at = now
            logger.warning(
                "port %d has %d connections open and takes no more: close idle clients, or allow "
                "more with server.max_connections and `ulimit -n`",
                self.port,
                self._max_connections,
            )

    async def _start(self, client: socket.socket) -> None:
        """Find out what a connection is, and join it to its server."""
        async with AsyncExitStack() as stack:
            stack.callback(lambda: client.close())
            client.setblocking(False)  # noqa: FBT003 - the library's signature
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                secured = await _secure(client, self._tls)
                if secured is None:
                    return
                client = secured
            path, first = await self._sniff(client)
            if path is None:
                return
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            stack.callback(server.close)
            server.setblocking(False)  # noqa: FBT003 - the library's signature
            loop = asyncio.get_running_loop()
            try:
                await loop.sock_connect(server, str(path))
                await loop.sock_sendall(server, first)
            except OSError:
                return  # the server is going down, and so is this connection
            stack.pop_all()
            self._pairs.add(Pair(client, server, self._buffer, self._pairs.discard))

    async def _sniff(self, client: socket.socket) -> tuple[Path | None, bytes]:
        """
        Read until the protocol is known.

        Returns:
            Where its server listens, and what was read; no path if the client leaves, says
            nothing, or speaks what is not served.
        """
        first = b""
        with anyio.move_on_after(self._sniff_timeout_s):
            while (http2 := is_http2(first)) is None:
                try:
                    # As much as a TLS record holds: what OpenSSL keeps, no selector would tell of.
                    more = await _receive(client, _CHUNK_BYTES)
                except OSError:
                    break
                if not more:
                    break
                first += more
            else:
                is_served = self._backends[int(http2)] is not None
                return (self._paths[int(http2)] if is_served else None), first
        return None, b""


async def _secure(client: socket.socket, tls: TlsIdentity) -> ssl.SSLSocket | None:
    """Make the handshake; none if it fails, takes too long, or the client does not speak TLS."""
    with anyio.move_on_after(tls.handshake_timeout_s):
        try:
            if await _peek(client) != _HANDSHAKE:
                return None  # closed without a word: a word would be in the clear
            secured = tls.context().wrap_socket(
                client, server_side=True, do_handshake_on_connect=False
            )
        except OSError:
            return None
        try:
            await _repeat(secured.do_handshake, secured)
        except OSError as error:
            logger.info("a client's TLS handshake failed: %s", error)
            secured.close()
        except BaseException:
            secured.close()
            raise
        else:
            return secured
    return None


async def _peek(client: socket.socket) -> bytes:
    """Look at the first byte, and leave it there."""
    return await _repeat(lambda: client.recv(1, socket.MSG_PEEK), client)


async def _receive(client: socket.socket, size: int) -> bytes:
    return await _repeat(lambda: client.recv(size), client)


async def _repeat(attempt: Callable[[], _T], end: socket.socket) -> _T:
    """Do what a socket may not be ready for, as soon as it is."""
    while True:
        try:
            return attempt()
        except (*WOULD_BLOCK, ssl.SSLWantReadError):
            waiting = _readable
        except ssl.SSLWantWriteError:
            waiting = _writable
        await waiting(end)


async def _readable(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    is_ready = asyncio.Event()
    loop.add_reader(end, is_ready.set)
    try:
        await is_ready.wait()
    finally:
        loop.remove_reader(end)


async def _writable(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    is_ready = asyncio.Event()
    loop.add_writer(end, is_ready.set)
    try:
        await is_ready.wait()
    finally:
        loop.remove_writer(end)


def _bound(wanted: int) -> int:
    """Let fewer connections be open than wanted if files would run out before."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (allowed - _FILES_FOR_OTHERS) // _FILES_PER_CONNECTION))


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
