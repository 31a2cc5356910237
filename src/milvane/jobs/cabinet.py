"""Where front doors keep files and ask for them, each for its own caller."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from milvane.domain.errors import NotFound
from milvane.domain.files import FilePage, FilePurpose, FileQuery, StoredFile
from milvane.serving.callers import current_caller
from milvane.storage.files import FileStore, Incoming


class Cabinet:
    """The store of files as the caller of the work at hand sees it: their tenant's, no others."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def receive(
        self,
        name: str,
        purpose: FilePurpose,
        *,
        tenant: str | None = None,
        max_bytes: int | None = None,
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> Incoming:
        """
        Begin to take in a file; see `FileStore.receive`.

        Args:
            name: What its owner calls it.

            purpose: What it is for.

            tenant: Whose it becomes; the caller's if none.

            max_bytes: A limit below the general one, if any.

            expires_at: When it ends to exist; none to keep it.

            key: Its place in the upload area, if it has one.
        """
        return self._store.receive(
            name,
            purpose,
            tenant=_own() if tenant is None else tenant,
            max_bytes=max_bytes,
            expires_at=expires_at,
            key=key,
        )

    async def find(self, file_id: str) -> StoredFile:
        """Look a file up; raises `NotFound` if the caller has none of this id."""
        return await self._store.find(file_id, tenant=_own())

    async def find_result(self, file_id: str) -> StoredFile:
        """
        Look the result of a task up, for whoever has its address.

        Raises:
            NotFound: If there is none, its time is over, or it is another file.
        """
        file = await self._store.find(file_id, tenant=None)
        if file.purpose is not FilePurpose.TASK_RESULT:
            raise NotFound(f"no result {file_id!r}")
        return file

    async def find_key(self, key: str) -> StoredFile:
        """Look up a file of the upload area; raises `NotFound` if the caller has none there."""
        return await self._store.find_key(key, tenant=_own())

    async def list_files(self, query: FileQuery) -> FilePage:
        """List the caller's files, newest first; raises `NotFound` as the store does."""
        return await self._store.list_files(query, tenant=_own())

    async def delete(self, file_id: str) -> None:
        """Forget a file and its content; raises `NotFound` if the caller has none of this id."""
        await self._store.delete(file_id, tenant=_own())

    def path_of(self, file: StoredFile) -> Path:
        """Say where a file's content is."""
        return self._store.path_of(file)

    async def grant_upload(self, expires_at: datetime) -> tuple[str, str]:
        """Open a folder of the upload area to the caller; returns it and the proof of that."""
        return await self._store.grant_upload(expires_at, tenant=_own())

    async def find_grantee(self, folder: str, signature: str) -> str | None:
        """Say to which tenant a folder of the upload area is open; none without its signature."""
        return await self._store.find_grantee(folder, signature)


def _own() -> str:
    return current_caller().tenant
