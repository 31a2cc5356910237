"""The Lite process's end of the connections to the gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import grpc

from milvane.instances.lite.frames import (
    MAX_MESSAGE_BYTES,
    Kind,
    Link,
    Metadata,
    seal_status,
    unseal,
)

if TYPE_CHECKING:
    from pathlib import Path

Answer = Callable[[str, bytes, Metadata], Awaitable[bytes]]
"""Answers a call: path of the method, request, metadata; or raises `CallEnded`."""

_logger = logging.getLogger(__name__)


class CallEnded(Exception):
    """A call ends with a gRPC status instead of a response."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Answerer:
    """Listens on a Unix socket, and answers calls there side by side."""

    def __init__(self, answer: Answer) -> None:
        """
        Describe it; `start` listens.

        Args:
            answer: Is called for each request, and cancelled if nobody waits any more.
        """
        self._answer = answer
        self._server: asyncio.AbstractServer | None = None
        self.links: set[Link] = set()
        """The connections that are open."""
        self.running: set[asyncio.Task[None]] = set()
        """The calls that run."""
        self.is_stopping = False
        """Whether requests are refused from now on."""

    async def start(self, socket: Path) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _AnsweringLink(self), str(socket))

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, let running ones end for so long, and close all connections."""
        self.is_stopping = True
        if self._server is not None:
            self._server.close()
        if self.running:
            _, late = await asyncio.wait(self.running, timeout=grace_s)
            for task in late:
                task.cancel()
        for link in self.links:
            await link.sent()
            link.close()

    async def respond(self, request: bytes) -> tuple[Kind, bytes]:
        """Answer a request, whatever happens."""
        if self.is_stopping:
            return Kind.STATUS, seal_status(grpc.StatusCode.UNAVAILABLE.name, "stopping")
        try:
            method, metadata, body = unseal(request)
            response = await self._answer(method, body, metadata)
        except CallEnded as error:
            return Kind.STATUS, seal_status(error.code.name, error.details)
        except Exception as error:  # as gRPC does: a defect ends one call only
            _logger.exception("unexpected failure of a call")
            return Kind.STATUS, seal_status(grpc.StatusCode.UNKNOWN.name, f"Unexpected {error!r}")
        if len(response) > MAX_MESSAGE_BYTES:
            details = f"the response has {len(response)} bytes; ask for less at once"
            return Kind.STATUS, seal_status(grpc.StatusCode.RESOURCE_EXHAUSTED.name, details)
        return Kind.RESPONSE, response


class _AnsweringLink(Link):
    """A connection, and the calls that came in through it."""

    def __init__(self, answerer: Answerer) -> None:
        super().__init__()
        self._answerer = answerer
        self._running: dict[int, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._answerer.links.add(self)

    def receive(self, call: int, kind: Kind, message: bytes) -> None:
        """Begin a call, or end one that nobody waits for."""
        if kind is Kind.WITHDRAWAL:
            self.stop_sending(call)
            if call in self._running:
                self._running[call].cancel()
            return
        task = self._running[call] = asyncio.create_task(self._respond(call, message))
        self._answerer.running.add(task)
        task.add_done_callback(self._answerer.running.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        """End all calls of a gateway that is gone."""
        super().connection_lost(exc)
        self._answerer.links.discard(self)
        for task in self._running.values():
            task.cancel()

    async def _respond(self, call: int, request: bytes) -> None:
        try:
            kind, message = await self._answerer.respond(request)
            self.send(call, kind, message)
        finally:
            del self._running[call]
