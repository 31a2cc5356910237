"""The HTTP listener: uvicorn as a component of a larger server, without its signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import httptools
import uvicorn
from typing_extensions import Self
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from milvane.apis.connection import HANG_UP
from milvane.domain.errors import Conflict

logger = logging.getLogger(__name__)

_FULL_IS_TOLD_EVERY_S = 10.0
_SENT_AT_ONCE_BYTES = 65_536

MAX_HEAD_BYTES = 65_536
"""Of a request's head, beyond what came with its last packet."""


class _Embedded(uvicorn.Server):
    """A uvicorn server that leaves signals to the process that it is part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


class _Gathering:
    """
    A transport that sends in one piece what is written in one go.

    The framework writes the head of an answer, its body and its end one by one: each would be a
    packet of its own, and wake the client.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send soon, at the latest when the loop turns to something else."""
        if not data:
            return
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes >= _SENT_AT_ONCE_BYTES:  # such that the transport says when to pause
            self.flush()
        elif len(self._parts) == 1:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is written."""
        if self._parts:
            parts, self._parts, self._bytes = self._parts, [], 0
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Send what is written, and close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close, and send nothing more."""
        self._parts.clear()
        self._transport.abort()


class _Impatient(HttpToolsProtocol):
    """
    HTTP/1.1 to clients that finish what they begin, and keep to its rules.

    uvicorn itself bounds only the time between two requests. The parser keeps what is unfinished of
    a head, or of the lines around a body's pieces, however long it gets, and knows no rule about
    hosts: both is seen to here.
    """

    patience_s: float
    """How long a head may take in all, and a body may stand still."""
    max_connections: int
    told_full_at = -math.inf
    """When the log said last that there are too many; one time for all of a listener."""
    is_secure: bool
    """Whether what comes here was decrypted before."""

    _waiting: asyncio.TimerHandle | None = None
    _is_waiting_for_head = False
    _is_in_head = False
    _is_in_body = False
    _offers_other = False
    """Whether the head at hand offers another protocol."""
    _has_moved = False
    """Whether the bytes at hand completed a head or a piece of a body."""
    _unfinished_bytes = 0
    """Of what came since that happened last."""
    _on_hang_up: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]
        if self.is_secure:
            self.scheme = "https"
        if len(self.connections) > self.max_connections:
            self._tell_full()
            transport.abort()
            return
        self._wait_on()

    def _tell_full(self) -> None:
        kind, now = type(self), self.loop.time()
        if now - kind.told_full_at >= _FULL_IS_TOLD_EVERY_S:
            kind.told_full_at = now
            logger.warning(
                "%d HTTP connections are open, and more are closed: close idle clients, or allow "
                "more with server.max_connections",
                self.max_connections,
            )

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for what is still missing."""
        self._unset_keepalive_if_required()
        self._has_moved = False
        try:
            self._feed(data)
            self._check_progress(len(data))
        except httptools.HttpParserError as error:
            logger.info("an HTTP request is refused: %s", error.__context__ or error)
            self.send_400_response("Invalid HTTP request received.")
        else:
            self._wait_on()

    def _feed(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = self._feed_until_offer(left)

    def _feed_until_offer(self, data: memoryview) -> memoryview:
        """Parse as far as there is no offer of another protocol; returns what is left."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self._offers_other = False
            self.parser.feed_data(head)
            return data[upgrade.args[0] :]
        return data[:0]

    def _check_progress(self, came_bytes: int) -> None:
        self._unfinished_bytes = 0 if self._has_moved else self._unfinished_bytes + came_bytes
        if self._unfinished_bytes > MAX_HEAD_BYTES:
            raise httptools.HttpParserError(f"more than {MAX_HEAD_BYTES} bytes of a head")

    def _head_without_offer(self) -> bytes:
        """
        Write the head at hand without its offer to go on in another protocol, which is not taken.

        Java's client and `curl --http2` offer HTTP/2 so; the parser would take their bodies for it.
        """
        method: bytes = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("this is no proxy")
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                options = (option.strip() for option in value.split(b","))
                value = b", ".join(each for each in options if each.lower() != b"upgrade")
            if name != b"upgrade":
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Refuse a head that does not say for whom it is (RFC 9112, section 3.2), else go on."""
        if self.parser.should_upgrade():
            self._offers_other = True
            return
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise httptools.HttpParserError(f"{hosts} hosts are named")
        self.scope["extensions"] = {HANG_UP: self._tell_hang_up}  # type: ignore[dict-item]
        super().on_headers_complete()
        self._is_in_head, self._is_in_body, self._has_moved = False, True, True

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._has_moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Be done with a request, as far as it comes from the client."""
        if self._offers_other:  # its body is still to come
            return
        self._is_in_body, self._has_moved = False, True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send the answer, which is whole."""
        self._on_hang_up = None
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)
        if self._on_hang_up is not None:
            self._on_hang_up()

    def _tell_hang_up(self, callback: Callable[[], None] | None) -> None:
        self._on_hang_up = callback
        if callback is not None and self.transport.is_closing():
            callback()

    def _wait_on(self) -> None:
        if self._is_in_body:
            self._start_waiting(for_head=False)
        elif self._is_in_head or self.cycle is None or self.cycle.response_complete:
            # Bytes of a head that come one by one do not prolong the wait.
            if not (self._waiting and self._is_waiting_for_head):
                self._start_waiting(for_head=True)
        else:
            self._stop_waiting()

    def _start_waiting(self, *, for_head: bool) -> None:
        self._stop_waiting()
        self._is_waiting_for_head = for_head
        self._waiting = self.loop.call_later(self.patience_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self.flow.read_paused:  # it is we who do not read
            self._start_waiting(for_head=False)
        elif not self.transport.is_closing():
            self.transport.abort()


class HttpListener:
    """Serves an ASGI application between entering and leaving its context."""

    def __init__(
        self,
        app: Any,
        *,
        host: str = "",
        port: int = 0,
        path: Path | None = None,
        drain_timeout_s: float,
        patience_s: float = 10.0,
        max_connections: int = 4096,
        is_secure: bool = False,
    ) -> None:
        """
        Describe the listener.

        Args:
            app: The ASGI application.

            host: Address to listen on.

            port: 0 for a free one.

            path: A Unix socket to listen on, instead of host and port.

            drain_timeout_s: How long running requests may finish at the end.

            patience_s: How long a client may take for the head of a request, or stand still
                within a body.

            max_connections: Open at once; one more is closed as it comes.

            is_secure: Whether clients speak TLS to what stands before this listener.
        """
        self._host = host
        self._path = path
        self.port = port
        """The port that is really bound, once started."""
        protocol = type(
            "Http",
            (_Impatient,),
            {
                "patience_s": patience_s,
                "max_connections": max_connections,
                "is_secure": is_secure,
            },
        )
        self._server = _Embedded(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(drain_timeout_s)),
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """
        Bind and start to answer.

        Raises:
            Conflict: If the address is taken or is not this machine's.
        """
        if self._path is None:
            listening = _bind(self._host, self.port)
            self.port = listening.getsockname()[1]
        else:
            listening = _bind_path(self._path)
        self._serving = asyncio.create_task(
            self._server.serve(sockets=[listening]), name="http-listener"
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take no new requests, let running ones finish within the drain time, and stop."""
        self._server.should_exit = True
        if self._serving is not None:
            with anyio.CancelScope(shield=True):  # a server that falls apart still lets go in order
                await self._serving


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small answers at once only on sockets that name their protocol; on others the
    # end of an answer waits 40 ms for the client's kernel to acknowledge its beginning.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise Conflict(
            f"cannot listen on {host} port {port}: {error.strerror}. "
            "Is another server running? Choose another with --http-port"
        ) from error
    listening.setblocking(False)  # noqa: FBT003 - the library's signature
    return listening


def _bind_path(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen(2048)
    listening.setblocking(False)  # noqa: FBT003 - the library's signature
    return listening
