"""
Contents in a folder of this machine, named for their digests.

A draft is renamed in the transaction that records it, so that nobody who removes what SQL does not
name can take it for a leftover. Nothing that a client sends is ever part of a path.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection

from milvane.media.contents import PIECE_BYTES, Carried, cut_short, disk_failure
from milvane.media.objects import ContentFacts
from milvane.media.records import is_kept, read_digests, take_media_turn
from milvane.storage.database import Database
from milvane.storage.syncing import sync


class FolderContents:
    """Keeps contents as files; satisfies `contents.Contents`."""

    def __init__(self, database: Database, folder: Path) -> None:
        """
        Describe a place.

        Args:
            database: Open before anything is called; says which contents are kept.

            folder: Of the files; nothing else may be in it.
        """
        self._database = database
        self._folder = folder

    async def prepare(self) -> None:
        """Make the folder; see the port."""
        self._folder.mkdir(parents=True, exist_ok=True)

    async def carry(
        self,
        draft: Path,
        content: ContentFacts,
        check: Callable[[Connection], object],  # noqa: ARG002 - `keep` comes at once
    ) -> Carried:
        """Do nothing: a rename takes no time; see the port."""
        return Carried(content, draft, content.sha256)

    def keep(self, carried: Carried, connection: Connection) -> None:  # noqa: ARG002 - the port's
        """Give the draft its name; see the port."""
        try:
            carried.draft.replace(self._path_of(carried.content.sha256))
            sync(self._folder)
        except OSError as error:
            raise disk_failure(error) from error

    async def clear(self, carried: Carried) -> None:
        """Do nothing: an equal file was replaced; see the port."""

    async def abandon(self, carried: Carried) -> None:
        """Remove what was renamed and not recorded; see the port."""
        await self.release(carried.content.sha256)

    async def release(self, sha256: str) -> None:
        """Remove a file; see the port."""

        def work(connection: Connection) -> None:
            take_media_turn(connection)  # nobody can be just about to record it
            if not is_kept(connection, sha256):
                self._path_of(sha256).unlink(missing_ok=True)

        await self._database.write(work)

    async def open(self, content: ContentFacts, first: int, length: int) -> FileReading | None:
        """Open a file; see the port."""
        path = self._path_of(content.sha256)
        try:
            file = await self._database.run(partial(open_file, path, first))
        except FileNotFoundError:  # replaced or deleted since it was found
            return None
        return FileReading(file, length, self._database.run)

    async def sweep(self) -> None:
        """Remove files that SQL does not name; see the port."""
        await self._database.write(self._remove_unrecorded)

    def _path_of(self, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError("not a digest")
        return self._folder / sha256

    def _remove_unrecorded(self, connection: Connection) -> None:
        take_media_turn(connection)
        recorded = read_digests(connection)
        for path in self._folder.iterdir():
            if path.name not in recorded:
                path.unlink(missing_ok=True)


class FileReading:
    """Bytes of a file from where it stands; satisfies `contents.Reading`."""

    def __init__(
        self, file: BinaryIO, length: int, run: Callable[[Callable[[], Any]], Awaitable[Any]]
    ) -> None:
        self._file = file
        self._length = length
        self._run = run

    async def pieces(self) -> AsyncIterator[bytes]:
        """Read on; see the port."""
        left = self._length
        while left > 0:
            piece = await self._run(partial(self._file.read, min(left, PIECE_BYTES)))
            if not piece:  # a disk that lost some
                raise cut_short()
            left -= len(piece)
            yield piece

    async def aclose(self) -> None:
        """Close the file; see the port."""
        self._file.close()


def open_file(path: Path, first: int = 0) -> BinaryIO:
    """Open a file, to be read from a byte on. Blocks."""
    file = path.open("rb")
    file.seek(first)
    return file
