"""
The folder of files: content on disk, facts in SQL.

A file's content is written beside the folder's other files under a name that nobody asks for, made
durable, renamed to the file's id, and only then recorded. What a crash leaves is unrecorded, and
`sweep` removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select
from sqlalchemy.exc import IntegrityError
from typing_extensions import Self

from milvane.domain.errors import (
    Conflict,
    FileTooLarge,
    NotFound,
    QuotaExceeded,
    UpstreamUnavailable,
)
from milvane.domain.files import (
    FileId,
    FilePage,
    FilePurpose,
    FileQuery,
    StoredFile,
    parse_file_id,
    shown_name,
)
from milvane.storage.database import Database
from milvane.storage.file_records import (
    check_room,
    forget_expired,
    list_records,
    read_file,
    record,
)
from milvane.storage.settings import StorageSettings
from milvane.storage.syncing import sync
from milvane.storage.tables import FILES, UPLOAD_GRANTS

LOG = logging.getLogger(__name__)

Clock = Callable[[], datetime]

_BUFFER_BYTES = 1024 * 1024
_ABANDONED_S = 24 * 3600.0
"""No upload takes longer; what has not been written to for that long is left from a crash."""


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class Draft:
    """A file that is being written."""

    path: Path
    name: str
    purpose: FilePurpose
    tenant: str
    expires_at: datetime | None = None
    key: str | None = None


class FileStore:
    """
    Keeps files between calls and between processes.

    A file is its tenant's: for others it does not exist.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        settings: StorageSettings,
        *,
        clock: Clock = utc_now,
    ) -> None:
        """
        Describe a store; `prepare` makes it ready.

        Args:
            database: Open before anything is called.

            folder: Where content is kept; nothing else may be in it.

            settings: Limits.

            clock: The time of day.
        """
        self._database = database
        self._folder = folder
        self._drafts = folder / "incoming"
        self._settings = settings
        self._clock = clock

    async def prepare(self) -> None:
        """Make the folder and remove what crashes and the past have left in it."""
        self._drafts.mkdir(parents=True, exist_ok=True)
        await self.sweep()

    def path_of(self, file: StoredFile) -> Path:
        """Say where a file's content is; it may be read for as long as the file is not deleted."""
        if parse_file_id(file.id) is None:
            raise ValueError(f"{file.id!r} is not a file id")
        return self._folder / file.id

    def receive(
        self,
        name: str,
        purpose: FilePurpose,
        *,
        tenant: str,
        max_bytes: int | None = None,
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> Incoming:
        """
        Begin to take in a file whose content arrives in pieces.

        Args:
            name: What its owner calls it.

            purpose: What it is for.

            tenant: Whose it becomes.

            max_bytes: A limit below the general one, if any.

            expires_at: When it ends to exist; none to keep it.

            key: Its place in the upload area, if it has one.

        Returns:
            A context; the file exists once `complete` has returned, else nothing is left of it.
        """
        limit = self._settings.max_file_bytes
        return Incoming(
            self,
            self.draft(name, purpose, tenant=tenant, expires_at=expires_at, key=key),
            max_bytes=limit if max_bytes is None else min(max_bytes, limit),
        )

    def draft(
        self,
        name: str,
        purpose: FilePurpose,
        *,
        tenant: str,
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> Draft:
        """Name a file that is going to be written; `seal` and `record` make it one."""
        path = self._drafts / secrets.token_hex(16)
        return Draft(path, shown_name(name), purpose, tenant, expires_at, key)

    def seal(self, draft: Draft, *, sha256: str, size_bytes: int) -> StoredFile:
        """
        Make a written draft durable under its id. Blocks; nothing is recorded yet.

        Raises:
            UpstreamUnavailable: If the disk is full.
        """
        file = StoredFile(
            id=FileId(f"file-{draft.purpose.value}-{secrets.token_hex(16)}"),
            name=draft.name,
            purpose=draft.purpose,
            size_bytes=size_bytes,
            sha256=sha256,
            created_at=self._clock(),
            expires_at=draft.expires_at,
            key=draft.key,
            tenant=draft.tenant,
        )
        try:
            sync(draft.path)
            draft.path.replace(self.path_of(file))
            sync(self._folder)
        except OSError as error:
            raise _disk_failure(error) from error
        return file

    async def add(self, file: StoredFile) -> StoredFile:
        """
        Record a sealed file, unless the store is full.

        Raises:
            QuotaExceeded: If there are too many files or bytes already.
            Conflict: If another content has the same key.
        """
        try:
            return await self._database.write(partial(self._add, file))
        except (QuotaExceeded, Conflict):  # after any other failure it may have been recorded
            await self._database.run(partial(self.path_of(file).unlink, missing_ok=True))
            raise

    async def find(self, file_id: str, *, tenant: str | None) -> StoredFile:
        """
        Look a file up.

        Args:
            file_id: Its id, which cannot be guessed.

            tenant: Whose it must be; none if that does not matter.

        Raises:
            NotFound: If there is none, or its time is over.
        """
        file = None
        if parse_file_id(file_id) is not None:
            conditions = [FILES.c.id == file_id]
            if tenant is not None:
                conditions.append(FILES.c.tenant == tenant)
            file = await self._database.read(partial(read_file, and_(*conditions)))
        if file is None or file.is_expired(self._clock()):
            raise NotFound(f"no file {file_id!r}")
        return file

    async def find_key(self, key: str, *, tenant: str) -> StoredFile:
        """
        Look up a file of the upload area.

        Raises:
            NotFound: If the tenant has none, or its time is over.
        """
        condition = and_(FILES.c.key == key, FILES.c.tenant == tenant)
        file = await self._database.read(partial(read_file, condition))
        if file is None or file.is_expired(self._clock()):
            raise NotFound(f"no uploaded file {key!r}; uploads are kept for a limited time")
        return file

    async def list_files(self, query: FileQuery, *, tenant: str) -> FilePage:
        """
        List the files of a tenant, newest first.

        Raises:
            NotFound: If the file to begin after does not exist.
        """
        after = None if query.after is None else await self.find(query.after, tenant=tenant)
        return await self._database.read(partial(list_records, query, tenant, after, self._clock()))

    async def delete(self, file_id: str, *, tenant: str) -> None:
        """
        Forget a file, then remove its content.

        Raises:
            NotFound: If the tenant has none of this id.
        """
        file = await self.find(file_id, tenant=tenant)
        await self._database.write(
            lambda connection: connection.execute(delete(FILES).where(FILES.c.id == file.id))
        )
        await self._database.run(partial(self.path_of(file).unlink, missing_ok=True))

    async def grant_upload(self, expires_at: datetime, *, tenant: str) -> tuple[str, str]:
        """
        Open a folder of the upload area to a tenant for a while.

        Returns:
            The folder, and the signature that proves the grant; neither can be guessed.
        """
        day = self._clock().strftime("%Y-%m-%d")
        folder = f"dashscope-instant/{secrets.token_hex(16)}/{day}/{secrets.token_hex(16)}"
        row = {
            "folder": folder,
            "signature": secrets.token_hex(32),
            "expires_at": expires_at,
            "tenant": tenant,
        }
        await self._database.write(
            lambda connection: connection.execute(insert(UPLOAD_GRANTS).values(row))
        )
        return folder, str(row["signature"])

    async def find_grantee(self, folder: str, signature: str) -> str | None:
        """Say to which tenant a folder of the upload area is open; none without its signature."""
        grant = await self._database.read(
            lambda connection: connection.execute(
                select(UPLOAD_GRANTS.c.signature, UPLOAD_GRANTS.c.tenant).where(
                    UPLOAD_GRANTS.c.folder == folder, UPLOAD_GRANTS.c.expires_at > self._clock()
                )
            ).one_or_none()
        )
        if grant is None:
            return None
        is_signed = secrets.compare_digest(grant.signature.encode(), signature.encode())
        return str(grant.tenant) if is_signed else None

    async def sweep(self) -> None:
        """Remove expired files, and content that no record knows."""
        now = self._clock()
        await self._database.write(partial(forget_expired, now))
        recorded = await self._database.read(
            lambda connection: set(connection.execute(select(FILES.c.id)).scalars())
        )
        await self._database.run(partial(self._remove_unrecorded, recorded))

    def _add(self, file: StoredFile, connection: Connection) -> StoredFile:
        check_room(self._settings, file, connection)
        try:
            with connection.begin_nested():
                record(connection, file)
        except IntegrityError:
            present = read_file(FILES.c.key == file.key, connection)
            if present is None or present.sha256 != file.sha256:
                raise Conflict(f"another file has been uploaded as {file.key!r}") from None
            self.path_of(file).unlink(missing_ok=True)
            return present
        return file

    def _remove_unrecorded(self, recorded: set[str]) -> None:
        oldest = time.time() - _ABANDONED_S
        for path in (*self._folder.glob("file-*"), *self._drafts.iterdir()):
            if path.name not in recorded:
                with contextlib.suppress(FileNotFoundError):  # another process sweeps too
                    if path.stat().st_mtime < oldest:
                        path.unlink()


class Incoming:
    """A file that arrives: use as a context, write pieces, and complete."""

    def __init__(self, store: FileStore, draft: Draft, *, max_bytes: int) -> None:
        self._store = store
        self._draft = draft
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._size_bytes = 0
        self._digest = hashlib.sha256()
        self._file: BufferedWriter | None = None

    @property
    def run(self) -> Callable[..., Any]:
        """How to run what blocks."""
        return self._store._database.run  # noqa: SLF001 - one module, two classes

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what has been written, unless it became a file."""
        await self.run(self._discard)

    async def write(self, piece: bytes) -> None:
        """
        Take the next bytes.

        Raises:
            FileTooLarge: If there are more of them than allowed.
            UpstreamUnavailable: If the disk is full.
        """
        self._size_bytes += len(piece)
        if self._size_bytes > self._max_bytes:
            raise FileTooLarge(max_bytes=self._max_bytes)
        self._buffer += piece
        if len(self._buffer) >= _BUFFER_BYTES:
            await self.run(self._flush)

    async def complete(self) -> StoredFile:
        """
        End the content; the file exists from now on.

        Raises:
            QuotaExceeded: If the store is full.
        """
        return await self._store.add(await self.run(self._seal))

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = self._draft.path.open("xb")
            self._file.write(self._buffer)
        except OSError as error:
            raise _disk_failure(error) from error
        self._digest.update(self._buffer)
        self._buffer.clear()

    def _seal(self) -> StoredFile:
        self._flush()
        if self._file is not None:
            self._file.close()
        return self._store.seal(
            self._draft, sha256=self._digest.hexdigest(), size_bytes=self._size_bytes
        )

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
        self._draft.path.unlink(missing_ok=True)


def _disk_failure(error: OSError) -> UpstreamUnavailable:
    LOG.error("cannot write a file: %s", error)
    return UpstreamUnavailable(f"the file cannot be stored: {error.strerror}")
