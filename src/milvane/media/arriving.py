"""
Objects that arrive: written to a draft in pieces, made durable, and only then added.

A draft is a file of this machine under a name that nobody asks for, wherever its content goes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from fastcrc import crc64
from typing_extensions import Self

from milvane.domain.errors import FileTooLarge
from milvane.media.contents import disk_failure
from milvane.media.errors import BadDigest
from milvane.media.objects import ContentFacts, MediaObject, Place
from milvane.storage.syncing import sync

_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is said of an object before its content."""

    place: Place
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    md5: str | None = None
    """What the content must have, in lower-case hexadecimal digits; none to take any."""
    forbids_overwriting: bool = False


class Keeper(Protocol):
    """Who makes objects of drafts."""

    async def add(self, draft: Path, arrival: Arrival, content: ContentFacts) -> MediaObject:
        """Make a durable draft the content of an object."""


@dataclass(frozen=True, slots=True)
class Desktop:
    """Where drafts are written."""

    folder: Path
    max_bytes: int
    run: Callable[[Callable[[], Any]], Awaitable[Any]]
    """Runs what waits for the disk."""


class Incoming:
    """An object that arrives: use as a context, write pieces, and complete."""

    def __init__(self, keeper: Keeper, arrival: Arrival, desktop: Desktop) -> None:
        self._keeper = keeper
        self._arrival = arrival
        self._desktop = desktop
        self._path = desktop.folder / secrets.token_hex(16)
        self._buffer = bytearray()
        self._size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc64 = 0
        self._file: BufferedWriter | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what has been written, unless it became an object."""
        await self._desktop.run(self._discard)

    async def write(self, piece: bytes) -> None:
        """
        Take the next bytes.

        Raises:
            FileTooLarge: If there are more of them than allowed.
            UpstreamUnavailable: If the disk is full.
        """
        self._size_bytes += len(piece)
        if self._size_bytes > self._desktop.max_bytes:
            raise FileTooLarge(max_bytes=self._desktop.max_bytes)
        self._buffer += piece
        if len(self._buffer) >= _BUFFER_BYTES:
            await self._desktop.run(self._flush)

    async def complete(self) -> MediaObject:
        """
        End the content; the object exists from now on, instead of what was there.

        Raises:
            BadDigest: If the content is not the one that was announced.
            QuotaExceeded: If the store is full.
            Conflict: If something is there and may not be replaced.
            UpstreamUnavailable: If where contents are kept does not answer.
        """
        content = await self._desktop.run(self._seal)
        return await self._keeper.add(self._path, self._arrival, content)

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = self._begin()
            self._file.write(self._buffer)
        except OSError as error:
            raise disk_failure(error) from error
        content = bytes(self._buffer)
        self._sha256.update(content)
        self._md5.update(content)
        self._crc64 = crc64.xz(content, self._crc64)
        self._buffer.clear()

    def _begin(self) -> BufferedWriter:
        # A server that starts at this very moment removes what nobody holds yet: then once more.
        while True:
            file = self._path.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._path.exists():
                return file
            file.close()

    def _seal(self) -> ContentFacts:
        self._flush()
        md5 = self._md5.hexdigest()
        if self._arrival.md5 not in (None, md5):
            raise BadDigest("the Content-MD5 you specified did not match what we received")
        if self._file is not None:
            self._file.flush()
            sync(self._path)
        return ContentFacts(self._size_bytes, self._sha256.hexdigest(), md5, self._crc64)

    def _discard(self) -> None:
        self._path.unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()


def remove_drafts(folder: Path) -> None:
    """Remove drafts that nobody is writing, of other servers too. Blocks."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            # Whoever writes one holds it; the system lets go of it when that process ends.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
