"""Servers of images and videos on loopback, and names that lead to them, for tests of fetching."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import httpcore2

from milvane.media.policy import Address

PUBLIC = "93.184.215.14"
"""An address that any name in the Internet could have; nothing is sent there by a test."""


@dataclass
class Reply:
    """What an origin answers."""

    body: bytes = b""
    status: str = "200 OK"
    headers: Sequence[str] = ()
    endless: bytes = b""
    """Repeated after the body until the client goes."""
    stalls: bool = False
    """Sends no more after the body, and stays."""

    @property
    def head(self) -> bytes:
        """Everything before the body."""
        lines = [f"HTTP/1.1 {self.status}", *self.headers, "Connection: close"]
        is_framed = any("content-length" in line.lower() for line in self.headers)
        if not (is_framed or self.endless or self.stalls):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Origin:
    """A server; what it answers may be changed at any time."""

    port: int = 0
    replies: dict[str, Reply | Callable[[list[str]], Reply]] = field(default_factory=dict)
    """By path, with the query or for any; a function is given the lines of the request."""
    asked: list[list[str]] = field(default_factory=list)
    """The lines of every request's head."""
    arrivals: dict[str, asyncio.Event] = field(default_factory=dict)
    """Set when a path is asked for."""
    _clients: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def arrival(self, path: str) -> Awaitable[Any]:
        """Wait until a path has been asked for."""
        return self.arrivals.setdefault(path, asyncio.Event()).wait()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.asked.append(head)
        path = head[0].split(" ")[1]
        self.arrivals.setdefault(path, asyncio.Event()).set()
        anyhow = self.replies.get(path.partition("?")[0], Reply(status="404 Not Found"))
        reply = self.replies.get(path, anyhow)
        if not isinstance(reply, Reply):
            reply = reply(head)
        writer.write(reply.head + reply.body)
        await writer.drain()
        while reply.endless:
            writer.write(reply.endless)
            await writer.drain()
        if reply.stalls:
            await reader.read()

    async def close(self) -> None:
        """Leave all clients."""
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)


@asynccontextmanager
async def served_origin(tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Serve an origin on a free port of loopback."""
    origin = Origin()
    server = await asyncio.start_server(origin.answer, "127.0.0.1", 0, ssl=tls)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        await origin.close()


@dataclass
class Names:
    """A resolver whose answers a test decides; a name may answer otherwise the next time."""

    answers: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    """By name, what is answered one time after the other; the last one stays."""
    asked: list[str] = field(default_factory=list)

    def say(self, name: str, *answers: Sequence[str] | str) -> None:
        """Set what a name is answered with."""
        self.answers[name] = [[each] if isinstance(each, str) else each for each in answers]

    async def resolve(self, host: str) -> Sequence[Address]:
        """Answer."""
        self.asked.append(host)
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        answers = self.answers.get(host)
        if not answers:
            raise OSError("no such name")
        return [ip_address(each) for each in (answers.pop(0) if answers[1:] else answers[0])]


class Detour(httpcore2.AnyIOBackend):
    """Makes connections to any address end at loopback, and remembers where they were to go."""

    def __init__(self, unreachable: Iterable[str] = ()) -> None:
        self.dialled: list[str] = []
        self.unreachable = frozenset(unreachable)

    async def connect_tcp(
        self, host: str, port: int, **options: Any
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the same port of this machine."""
        self.dialled.append(host)
        if host in self.unreachable:
            raise httpcore2.ConnectError
        return await super().connect_tcp("127.0.0.1", port, **options)
