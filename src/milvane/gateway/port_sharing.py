"""
One TCP port for two protocols: gRPC goes to one server of this process, HTTP/1.1 to another.

A connection's first bytes say which it is: every HTTP/2 connection opens with the same 24 bytes.
From then on its bytes are carried, unread, to a Unix socket of that server and back. Why so, and
what it costs, is in docs/decisions.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
from typing_extensions import Self

from milvane.domain.errors import Conflict

logger = logging.getLogger(__name__)

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every HTTP/2 client says first (RFC 9113, section 3.4)."""

_CHUNK_BYTES = 128 * 1024
_ACCEPT_PAUSE_S = 0.2
_BACKLOG = 2048

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


class _Direction:
    """Carries bytes from one socket to another, and stops reading while the other is full."""

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        buffer: memoryview,
        on_end: Callable[[_Direction, bool], None],
    ) -> None:
        """
        Describe the direction; `start` begins to read.

        Args:
            source: Where bytes come from; not blocking.

            sink: Where they go; not blocking.

            buffer: One for all directions of a loop: what cannot be sent at once is copied out.

            on_end: Called once, with whether the source said its last byte in order.
        """
        self._loop = asyncio.get_running_loop()
        self._receive_into, self._send = source.recv_into, sink.send
        self._source, self._sink = source, sink
        self._buffer = buffer
        self._on_end = on_end
        self._held = memoryview(b"")

    def start(self) -> None:
        """Carry what comes from now on."""
        self._loop.add_reader(self._source, self._carry)

    def stop(self) -> None:
        """Carry nothing more."""
        self._loop.remove_reader(self._source)
        if self._held:
            self._loop.remove_writer(self._sink)

    def _carry(self) -> None:
        try:
            count = self._receive_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = -1
        if count <= 0:
            self._loop.remove_reader(self._source)
            self._on_end(self, count == 0)
            return
        try:
            sent = self._send(self._buffer[:count])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._on_end(self, False)  # noqa: FBT003 - a callback's only answer
            return
        if sent < count:
            self._held = memoryview(bytes(self._buffer[sent:count]))
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._continue)

    def _continue(self) -> None:
        try:
            self._held = self._held[self._send(self._held) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._on_end(self, False)  # noqa: FBT003 - a callback's only answer
            return
        if not self._held:
            self._loop.remove_writer(self._sink)
            self.start()


class _Pair:
    """A client's connection and the one to its server: what one end does, the other sees."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        buffer: memoryview,
        on_close: Callable[[_Pair], None],
    ) -> None:
        self._sockets = (client, server)
        self._on_close = on_close
        self._directions = {
            _Direction(client, server, buffer, self._end): server,
            _Direction(server, client, buffer, self._end): client,
        }
        self._open = set(self._directions)
        for direction in self._directions:
            direction.start()

    def _end(self, direction: _Direction, in_order: bool) -> None:  # noqa: FBT001 - a callback
        self._open.discard(direction)
        if not in_order or not self._open:
            self.close()
            return
        try:
            self._directions[direction].shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of both ends."""
        for direction in self._directions:
            direction.stop()
        for end in self._sockets:
            end.close()
        self._on_close(self)


class SharedPort:
    """Listens for two protocols, and runs the servers of both, while its context is open."""

    def __init__(
        self, *, host: str, port: int, http2: Backend, http1: Backend, sniff_timeout_s: float
    ) -> None:
        """
        Describe the port; it is bound when the context is entered.

        Args:
            host: Address to listen on.

            port: 0 for a free one.

            http2: The server of connections that begin as HTTP/2 does.

            http1: The server of all others; it also answers what is no protocol at all.

            sniff_timeout_s: How long a connection may leave open which it is.
        """
        self._host = host
        self._backends = (http1, http2)
        self._sniff_timeout_s = sniff_timeout_s
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._pairs: set[_Pair] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._paths: tuple[Path, ...] = ()
        self._stack = AsyncExitStack()
        self.port = port
        """The port that is really bound, once started."""

    async def __aenter__(self) -> Self:
        """
        Start both servers, bind, and begin to take connections.

        Raises:
            Conflict: If the address is taken or is not this machine's.
        """
        async with AsyncExitStack() as stack:
            # Nobody else may reach the sockets behind the port: the folder is the user's own.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milvane-")))
            stack.callback(self._let_go)
            self._paths = (folder / "1", folder / "2")
            for backend, path in zip(self._backends, self._paths, strict=True):
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
                "Choose another port with --grpc-port"
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
            task = asyncio.create_task(self._start(client))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, client: socket.socket) -> None:
        """Find out what a connection is, and join it to its server."""
        async with AsyncExitStack() as stack:
            stack.callback(client.close)
            client.setblocking(False)  # noqa: FBT003 - the library's signature
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first, http2 = await self._sniff(client)
            if not first:
                return
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            stack.callback(server.close)
            server.setblocking(False)  # noqa: FBT003 - the library's signature
            loop = asyncio.get_running_loop()
            try:
                await loop.sock_connect(server, str(self._paths[int(http2)]))
                await loop.sock_sendall(server, first)
            except OSError:
                return  # the server is going down, and so is this connection
            stack.pop_all()
            self._pairs.add(_Pair(client, server, self._buffer, self._pairs.discard))

    async def _sniff(self, client: socket.socket) -> tuple[bytes, bool]:
        """Read until the protocol is known; nothing if the client leaves or says nothing."""
        loop = asyncio.get_running_loop()
        first = b""
        with anyio.move_on_after(self._sniff_timeout_s):
            while (http2 := is_http2(first)) is None:
                try:
                    more = await loop.sock_recv(client, len(HTTP2_PREFACE) - len(first))
                except OSError:
                    break
                if not more:
                    break
                first += more
            else:
                return first, http2
        return b"", False


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
