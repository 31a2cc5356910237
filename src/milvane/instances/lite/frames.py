"""
What the gateway and the Lite process say to each other, in frames over a Unix socket.

gRPC would hand each call from thread to thread and put it through HTTP/2 on both sides, which takes
longer than most searches. A frame is a header (length of what follows, number of the call, kind)
and what follows. A long message comes in parts, between which others pass.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import cast

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
PART_BYTES = 64 * 1024

_HEADER = struct.Struct("<IQB")
_ENVELOPE = struct.Struct("<I")
_MORE = 0x80
_BINARY_SUFFIX = "-bin"  # gRPC's mark of metadata whose values are bytes

Metadata = Sequence[tuple[str, str | bytes]]


def direct_path(socket: Path) -> Path:
    """Say where frames are taken, given the socket on which gRPC is."""
    return socket.with_suffix(".link")


class Kind(IntEnum):
    """What a message is."""

    REQUEST = 1
    """An envelope (method and metadata) and the request's bytes."""
    RESPONSE = 2
    """The response's bytes."""
    STATUS = 3
    """What ended the call instead of a response: a gRPC status and its words."""
    WITHDRAWAL = 4
    """Nobody waits for the response any more."""


def seal(method: str, metadata: Metadata) -> bytes:
    """Write what precedes a request's bytes: the path of its method, and metadata."""
    pairs = [
        (key, value if isinstance(value, str) else value.decode("latin-1"))
        for key, value in metadata
    ]
    letter = json.dumps((method, pairs)).encode()
    return _ENVELOPE.pack(len(letter)) + letter


def unseal(message: bytes) -> tuple[str, tuple[tuple[str, str | bytes], ...], bytes]:
    """Read a request: the path of its method, its metadata and its bytes."""
    (length,) = _ENVELOPE.unpack_from(message)
    end = _ENVELOPE.size + length
    method, pairs = json.loads(message[_ENVELOPE.size : end])
    metadata = tuple(
        (key, value.encode("latin-1") if key.endswith(_BINARY_SUFFIX) else value)
        for key, value in pairs
    )
    return method, metadata, message[end:]


def seal_status(code: str, details: str) -> bytes:
    """Write a gRPC status by its name, and what is said about it."""
    return json.dumps((code, details)).encode()


def unseal_status(message: bytes) -> tuple[str, str]:
    """Read the name of a gRPC status, and what is said about it."""
    code, details = json.loads(message)
    return code, details


def cut(call: int, kind: Kind, prefix: bytes, body: bytes) -> Iterator[bytes]:
    """
    Write a message as frames.

    Args:
        call: Its number, which the caller has chosen.

        kind: What it is.

        prefix: Its first bytes, a few as a rule: more than a part holds are cut as the others are.

        body: The others; not copied as a whole if they are many.
    """
    if len(prefix) + len(body) <= PART_BYTES:
        yield _HEADER.pack(len(prefix) + len(body), call, kind) + prefix + body
        return
    if len(prefix) > PART_BYTES:
        prefix, body = b"", prefix + body
    yield _HEADER.pack(len(prefix), call, kind | _MORE) + prefix
    view = memoryview(body)
    for begin in range(0, len(body), PART_BYTES):
        part = view[begin : begin + PART_BYTES]
        more = _MORE if begin + PART_BYTES < len(body) else 0
        yield b"".join((_HEADER.pack(len(part), call, kind | more), part))


class Assembler:
    """Makes messages of the bytes of a connection, however they come."""

    def __init__(self) -> None:
        self._rest = b""
        self._parts: dict[int, list[bytes]] = {}

    def feed(self, chunk: bytes) -> Iterator[tuple[int, Kind, bytes]]:
        """
        Take the next bytes.

        Yields:
            Number of the call, kind and content of each message that is complete.

        Raises:
            ValueError: If the bytes are no frames.
        """
        arrived = self._rest + chunk if self._rest else chunk
        position = 0
        while len(arrived) - position >= _HEADER.size:
            length, call, kind = _HEADER.unpack_from(arrived, position)
            if length > PART_BYTES:
                raise ValueError(f"a frame of {length} bytes is too long")
            begin = position + _HEADER.size
            if len(arrived) - begin < length:
                break
            position = begin + length
            part = arrived[begin:position]
            if kind & _MORE:
                self._parts.setdefault(call, []).append(part)
                continue
            earlier = self._parts.pop(call, None)
            if kind == Kind.WITHDRAWAL:
                earlier = None  # of a request that will never be complete
            yield call, Kind(kind), part if earlier is None else b"".join((*earlier, part))
        self._rest = arrived[position:]


class Link(asyncio.Protocol):
    """One end of a connection; those that inherit say what messages mean."""

    def __init__(self) -> None:
        self._assembler = Assembler()
        self._transport: asyncio.Transport | None = None
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._can_write = asyncio.Event()
        self._can_write.set()

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def receive(self, call: int, kind: Kind, message: bytes) -> None:
        """Take a message."""
        raise NotImplementedError

    def send(self, call: int, kind: Kind, message: bytes = b"", *, prefix: bytes = b"") -> None:
        """Send a message: at once if it is short, part by part as the peer takes them if not."""
        if self._transport is None or self._transport.is_closing():
            return
        if len(prefix) + len(message) <= PART_BYTES:
            for frame in cut(call, kind, prefix, message):
                self._transport.write(frame)
            return
        task = asyncio.create_task(self._send_parts(cut(call, kind, prefix, message)))
        self._sending[call] = task
        task.add_done_callback(lambda _: self._sending.pop(call, None))

    def stop_sending(self, call: int) -> None:
        """Send no more parts of a call's message."""
        if call in self._sending:
            self._sending[call].cancel()

    async def sent(self) -> None:
        """Wait until all messages are on their way."""
        while self._sending:
            await asyncio.wait(self._sending.values())

    def close(self) -> None:
        """Close the connection; what has been written still goes out."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # as sockets have

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        try:
            for call, kind, message in self._assembler.feed(data):
                self.receive(call, kind, message)
        except ValueError:
            if self._transport is not None:
                self._transport.abort()
            raise

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End."""
        self._can_write.set()
        for task in self._sending.values():
            task.cancel()

    def pause_writing(self) -> None:
        """Hear that the peer does not keep up."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Hear that the peer has caught up."""
        self._can_write.set()

    async def _send_parts(self, frames: Iterator[bytes]) -> None:
        for frame in frames:
            await self._can_write.wait()
            if self._transport is None or self._transport.is_closing():
                return
            self._transport.write(frame)
