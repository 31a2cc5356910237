"""Many clients that ask a server for vectors, one text each, and cost next to nothing."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.corpus import skewed_texts, texts

CLIENTS = 32
MILVANE = {"dimensions": 384}
"""What is asked of our own server, so that it answers what the network itself makes."""


@dataclass
class Mix:
    """Texts of one kind."""

    name: str
    make: Callable[[int, int], list[str]]
    """From a number and a seed."""
    count: int


MIXES = (
    Mix("queries of 10 words", lambda count, seed: texts(count, words=10, seed=seed), 3000),
    Mix("documents of 32 words", lambda count, seed: texts(count, words=32, seed=seed), 1000),
    Mix("skewed lengths", lambda count, seed: skewed_texts(count, seed=seed), 700),
)


async def drive(ask: Callable[[int, str], Awaitable[object]], contents: Sequence[str]) -> float:
    """Ask for one text at a time from many clients at once; returns the seconds."""
    waiting = list(reversed(contents))

    async def client(number: int) -> None:
        while waiting:
            await ask(number, waiting.pop())

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return time.perf_counter() - begun


@dataclass(frozen=True, slots=True)
class Target:
    """A server that speaks OpenAI's dialect."""

    url: str
    path: str = "/v1/embeddings"
    """Of its route for embeddings."""
    model: str = "text-embedding-v4"
    """What it calls the model."""
    more: Mapping[str, object] = field(default_factory=lambda: MILVANE)
    """Members of the body beside the model and the texts."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    def request(self, contents: Sequence[str]) -> bytes:
        """Write a request to embed texts, its head included."""
        members = {"model": self.model, "encoding_format": "base64", **self.more}
        body = json.dumps({**members, "input": list(contents)}).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Connection:
    """One client, on a connection that is kept; the answer is not parsed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used_at = 0.0

    async def embed(self, contents: Sequence[str]) -> bytes:
        """Embed texts; a status other than 200 is an error. Returns the answer's body."""
        # Servers close connections that were idle for a few seconds.
        if self._streams is None or time.perf_counter() - self._used_at > 2:
            await self.close()
            self._streams = await asyncio.open_connection(*self._target.address)
        self._used_at = time.perf_counter()
        reader, writer = self._streams
        writer.write(self._target.request(contents))
        length = body_bytes(await reader.readuntil(b"\r\n\r\n"))
        return await reader.readexactly(length)

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


def body_bytes(head: bytes) -> int:
    """Read from an answer's head how long its body is; a status other than 200 is an error."""
    head = head.lower()
    assert head.startswith(b"http/1.1 200"), head
    return int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])


@dataclass(slots=True)
class _Line:
    """A client's connection."""

    socket: socket.socket
    head: bytes = b""
    missing_bytes: int = 0


def drive_server(target: Target, contents: Sequence[str]) -> float:
    """
    Ask a server for one text at a time from many clients at once; returns the seconds for all.

    One thread without an event loop writes requests that were made beforehand and does not look
    into the answers: a request costs a twentieth of a millisecond here, so that what is measured
    is the server.
    """
    requests = [target.request([content]) for content in reversed(contents)]
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        lines = {}
        for _ in range(min(CLIENTS, len(requests))):
            line = _Line(stack.enter_context(socket.create_connection(target.address)))
            line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines[line.socket.fileno()] = line
            poll.register(line.socket, select.EPOLLIN)
        begun = time.perf_counter()
        for line in lines.values():
            line.socket.sendall(requests.pop())
        running = len(lines)
        while running:
            for number, _ in poll.poll():
                if not _is_answered(lines[number]):
                    continue
                if requests:
                    lines[number].socket.sendall(requests.pop())
                else:
                    running -= 1
        return time.perf_counter() - begun


def _is_answered(line: _Line) -> bool:
    """Take what came; say whether an answer is whole."""
    came = line.socket.recv(1 << 18)
    assert came, "the server has closed the connection"
    if line.missing_bytes:
        line.missing_bytes -= len(came)
        return not line.missing_bytes
    line.head += came
    head, end, body = line.head.partition(b"\r\n\r\n")
    if end:
        line.head, line.missing_bytes = b"", body_bytes(head + end) - len(body)
    return bool(end) and not line.missing_bytes
