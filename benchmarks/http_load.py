"""Many clients that ask a server for vectors, one text each, and cost next to nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
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


class Connection:
    """A client that costs next to nothing: one kept connection, the answer not parsed."""

    def __init__(
        self,
        url: str,
        *,
        path: str = "/v1/embeddings",
        model: str = "text-embedding-v4",
        more: Mapping[str, object] = MILVANE,
    ) -> None:
        """
        Describe a server that speaks OpenAI's dialect; nothing is sent yet.

        Args:
            url: Where it is.

            path: Of its route for embeddings.

            model: What it calls the model.

            more: Members of the body beside the model and the texts.
        """
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._path, self._members = path, {"model": model, "encoding_format": "base64", **more}
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used_at = 0.0

    async def embed(self, contents: Sequence[str]) -> bytes:
        """Embed texts; a status other than 200 is an error. Returns the answer's body."""
        body = json.dumps({**self._members, "input": list(contents)}).encode()
        # Servers close connections that were idle for a few seconds.
        if self._streams is None or time.perf_counter() - self._used_at > 2:
            await self.close()
            self._streams = await asyncio.open_connection(self._host, self._port)
        self._used_at = time.perf_counter()
        reader, writer = self._streams
        writer.write(
            f"POST {self._path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
