"""The gateway's end of the connection to the Lite process."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import grpc

from milvane.instances.lite.frames import (
    MAX_MESSAGE_BYTES,
    Kind,
    Link,
    Metadata,
    seal,
    unseal_status,
)
from milvane.instances.upstream import ConnectionLost, UpstreamStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from pathlib import Path


class _CallingLink(Link):
    """A connection, and the calls that wait for an answer."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    async def call(self, prefix: bytes, request: bytes, timeout_s: float | None) -> bytes:
        if not self.is_open:
            raise ConnectionLost(was_sent=False)
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        answer = self._waiting[number] = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, _expire, answer)
        try:
            self.send(number, Kind.REQUEST, request, prefix=prefix)
            return await answer
        finally:
            if timer is not None:
                timer.cancel()
            if self._waiting.pop(number, None) is not None:  # nobody has answered, and we go
                self.stop_sending(number)
                self.send(number, Kind.WITHDRAWAL)

    def receive(self, call: int, kind: Kind, message: bytes) -> None:
        """Hand an answer to who waits for it, if anybody still does."""
        answer = self._waiting.pop(call, None)
        if answer is None or answer.done():
            return
        if kind is Kind.RESPONSE:
            answer.set_result(message)
            return
        code, details = unseal_status(message)
        answer.set_exception(
            ConnectionLost(was_sent=False)
            if code == grpc.StatusCode.UNAVAILABLE.name
            else UpstreamStatus(grpc.StatusCode[code], details)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls that wait: whether they were carried out, nobody knows."""
        super().connection_lost(exc)
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionLost(was_sent=True))


class Caller:
    """Calls one Lite process; the connection is made with the first call."""

    def __init__(
        self, target: str, path: Path, *, max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        """
        Describe the connection.

        Args:
            target: What the process is known by; see `Connection`.

            path: The Unix socket on which it answers.

            max_message_bytes: Longer requests are refused.
        """
        self._max_message_bytes = max_message_bytes
        self.target = target
        self._path = path
        self._link: _CallingLink | None = None
        self._opening: asyncio.Task[_CallingLink] | None = None

    @property
    def is_failing(self) -> bool:
        """Never: its supervisor knows first."""
        return False

    async def call(
        self, method: str, request: bytes, *, metadata: Metadata, timeout_s: float | None
    ) -> bytes:
        """Make a unary call; see `Connection.call`."""
        if len(request) > self._max_message_bytes:
            details = f"the request has {len(request)} bytes, of {self._max_message_bytes} allowed"
            raise UpstreamStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
        link = self._link
        if link is None or not link.is_open:
            link = await self._open()
        return await link.call(seal(method, metadata), request, timeout_s)

    def stream(
        self,
        method: str,  # noqa: ARG002 - it has none of any name
        requests: AsyncIterable[bytes],  # noqa: ARG002
        *,
        metadata: Metadata,  # noqa: ARG002
        timeout_s: float | None,  # noqa: ARG002
    ) -> AsyncIterator[bytes]:
        """Refuse: Milvus Lite has no streams."""
        raise UpstreamStatus(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    async def close(self) -> None:
        """Close the connection."""
        if self._opening is not None:
            self._opening.cancel()
        if self._link is not None:
            self._link.close()

    async def _open(self) -> _CallingLink:
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())
        try:
            # One connection for all who wait; if one of them goes away, the others still want it.
            return await asyncio.shield(self._opening)
        except OSError as error:
            raise ConnectionLost(was_sent=False) from error

    async def _connect(self) -> _CallingLink:
        loop = asyncio.get_running_loop()
        try:
            _, self._link = await loop.create_unix_connection(_CallingLink, str(self._path))
        finally:
            self._opening = None
        return self._link


def _expire(answer: asyncio.Future[bytes]) -> None:
    if not answer.done():
        answer.set_exception(UpstreamStatus(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
