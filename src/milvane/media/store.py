"""
The folder of media: contents on disk under their digests, names in SQL.

A content is written under a name that nobody asks for and made durable; then one transaction gives
it the name of its digest and records it. What a crash leaves is unrecorded, and is removed at the
start, and in every hour in which something is stored. Nothing that a client sends is ever part of a
path.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from fastcrc import crc64
from sqlalchemy import Connection
from typing_extensions import Self

from milvane.domain.errors import Conflict, FileTooLarge, UpstreamUnavailable
from milvane.media.errors import BadDigest, NoSuchObject
from milvane.media.objects import ContentFacts, MediaObject, Place, check_bucket, check_key
from milvane.media.records import (
    Listing,
    check_room,
    is_kept,
    list_objects,
    read_digests,
    read_object,
    remove_object,
    take_media_turn,
    write_object,
)
from milvane.media.settings import MediaSettings
from milvane.storage.database import Database
from milvane.storage.files import utc_now
from milvane.storage.syncing import sync

logger = logging.getLogger(__name__)

_BUFFER_BYTES = 1024 * 1024
_SWEEP_S = 3600.0
_LOOKS = 5
"""How often an object is looked up whose content is replaced meanwhile, again and again."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is said of an object before its content."""

    place: Place
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    md5: str | None = None
    """What the content must have, in lower-case hexadecimal digits; none to take any."""
    forbids_overwriting: bool = False


class MediaStore:
    """Keeps objects between calls and between processes; an object is its tenant's."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        settings: MediaSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """
        Describe a store; `prepare` makes it ready.

        Args:
            database: Open before anything is called.

            folder: Where contents are kept.

            settings: Limits.

            clock: The time of day.
        """
        self.database = database
        self.settings = settings
        self.clock = clock
        self._contents = folder / "contents"
        self._drafts = folder / "incoming"
        self._swept_at = clock()

    async def prepare(self) -> None:
        """Make the folders, and remove what crashes have left in them."""
        for folder in (self._contents, self._drafts):
            folder.mkdir(parents=True, exist_ok=True)
        await self._sweep()

    async def _sweep(self) -> None:
        """Remove what nobody has recorded and nobody is writing, of other servers too."""
        self._swept_at = self.clock()
        await self.database.run(self._remove_drafts)
        await self.database.write(self._remove_unrecorded)

    def receive(self, arrival: Arrival) -> Incoming:
        """
        Begin to take in an object whose content arrives in pieces.

        Returns:
            A context; the object exists once `complete` has returned, else nothing has changed.

        Raises:
            BadBucketName, BadObjectName: If nothing can be there.
        """
        check_bucket(arrival.place.bucket)
        check_key(arrival.place.key)
        return Incoming(self, arrival, self._drafts)

    async def find(self, place: Place) -> MediaObject:
        """
        Look an object up.

        Raises:
            NoSuchObject: If nothing is there.
        """
        found = await self.database.read(lambda connection: read_object(connection, place))
        if found is None:
            raise NoSuchObject("The specified key does not exist.")
        return found

    async def open(self, place: Place) -> tuple[MediaObject, BinaryIO]:
        """
        Open an object's content, which stays as it is while it is read.

        Returns:
            The object, and a file that the caller closes; reading it blocks.

        Raises:
            NoSuchObject: If nothing is there.
        """
        for _ in range(_LOOKS):
            found = await self.find(place)
            path = self._path_of(found.content.sha256)
            with contextlib.suppress(FileNotFoundError):  # replaced or deleted since it was found
                return found, await self.database.run(partial(_open, path))
        raise UpstreamUnavailable("the object cannot be read at the moment; try again")

    async def delete(self, place: Place) -> None:
        """Remove what is at a place, if there is anything."""
        sha256 = await self.database.write(lambda connection: remove_object(connection, place))
        if sha256 is not None:
            await self.release(sha256)

    async def list_objects(self, listing: Listing) -> list[MediaObject]:
        """List a tenant's objects of a bucket, by the order of their names."""
        return await self.database.read(lambda connection: list_objects(connection, listing))

    async def add(self, draft: Path, arrival: Arrival, content: ContentFacts) -> MediaObject:
        """
        Make a durable draft the content of an object, in the place of what is there.

        Raises:
            QuotaExceeded: If the store is full.
            Conflict: If something is there and may not be replaced.
        """
        found = MediaObject(
            arrival.place,
            content,
            arrival.content_type,
            self.clock(),
            arrival.headers,
        )
        try:
            replaced = await self.database.write(partial(self._add, draft, arrival, found))
        except BaseException:
            # Content that was renamed and not recorded goes; if this fails, the next start does it.
            with contextlib.suppress(Exception):
                await self.release(content.sha256)
            raise
        if replaced is not None and replaced != content.sha256:
            await self.release(replaced)
        if (self.clock() - self._swept_at).total_seconds() > _SWEEP_S:
            try:
                await self._sweep()
            except Exception:  # the object is stored; clearing up is tried again
                logger.exception("what crashes have left cannot be removed")
        return found

    async def release(self, sha256: str) -> None:
        """Remove a content that no object has any more."""

        def work(connection: Connection) -> None:
            take_media_turn(connection)  # nobody can be just about to record it
            if not is_kept(connection, sha256):
                self._path_of(sha256).unlink(missing_ok=True)

        await self.database.write(work)

    def _add(
        self, draft: Path, arrival: Arrival, found: MediaObject, connection: Connection
    ) -> str | None:
        take_media_turn(connection)
        present = read_object(connection, arrival.place)
        if present is not None and arrival.forbids_overwriting:
            raise Conflict("The object you specified already exists and can not be overwritten.")
        check_room(self.settings, found, connection)
        try:
            draft.replace(self._path_of(found.content.sha256))
            sync(self._contents)
        except OSError as error:
            raise disk_failure(error) from error
        write_object(connection, found)
        return None if present is None else present.content.sha256

    def _path_of(self, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError("not a digest")
        return self._contents / sha256

    def _remove_drafts(self) -> None:
        for path in self._drafts.iterdir():
            with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                # Whoever writes one holds it; the system lets go of it when that process ends.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def _remove_unrecorded(self, connection: Connection) -> None:
        take_media_turn(connection)
        recorded = read_digests(connection)
        for path in self._contents.iterdir():
            if path.name not in recorded:
                path.unlink(missing_ok=True)


class Incoming:
    """An object that arrives: use as a context, write pieces, and complete."""

    def __init__(self, store: MediaStore, arrival: Arrival, folder: Path) -> None:
        self._store = store
        self._arrival = arrival
        self._path = folder / secrets.token_hex(16)
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
        await self._run(self._discard)

    async def write(self, piece: bytes) -> None:
        """
        Take the next bytes.

        Raises:
            FileTooLarge: If there are more of them than allowed.
            UpstreamUnavailable: If the disk is full.
        """
        self._size_bytes += len(piece)
        max_bytes = self._store.settings.max_object_bytes
        if self._size_bytes > max_bytes:
            raise FileTooLarge(max_bytes=max_bytes)
        self._buffer += piece
        if len(self._buffer) >= _BUFFER_BYTES:
            await self._run(self._flush)

    async def complete(self) -> MediaObject:
        """
        End the content; the object exists from now on, instead of what was there.

        Raises:
            BadDigest: If the content is not the one that was announced.
            QuotaExceeded: If the store is full.
            Conflict: If something is there and may not be replaced.
        """
        content = await self._run(self._seal)
        return await self._store.add(self._path, self._arrival, content)

    async def _run(self, work: Callable[[], Any]) -> Any:
        return await self._store.database.run(work)

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


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def disk_failure(error: OSError) -> UpstreamUnavailable:
    """Say that the disk does not do what it should."""
    logger.error("cannot write an object: %s", error)
    return UpstreamUnavailable(f"the object cannot be stored: {error.strerror}")
