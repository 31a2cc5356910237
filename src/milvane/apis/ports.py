"""What the dialects ask of those who keep files and run jobs."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from milvane.domain.files import FilePage, FilePurpose, FileQuery, StoredFile
from milvane.domain.jobs import Job, JobKind, JobOrder, JobPage, JobQuery

Clock = Callable[[], datetime]


class TokenTexts(Protocol):
    """A vocabulary that clients send texts in, as token ids."""

    def join(self, token_ids: Iterable[int]) -> str:
        """
        Write a text out.

        Raises:
            KeyError: If the vocabulary has no such id; its argument is the id.
        """


class IncomingFile(Protocol):
    """A file that arrives in pieces."""

    async def write(self, piece: bytes) -> None:
        """
        Take the next bytes.

        Raises:
            FileTooLarge: If there are more of them than allowed.
        """

    async def complete(self) -> StoredFile:
        """
        End the content; the file exists from now on.

        Raises:
            QuotaExceeded: If the store is full.
        """


class Files(Protocol):
    """Keeps files; the caller sees those of their tenant alone."""

    def receive(
        self,
        name: str,
        purpose: FilePurpose,
        *,
        tenant: str | None = None,
        max_bytes: int | None = None,
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> AbstractAsyncContextManager[IncomingFile]:
        """
        Begin to take in a file; nothing is left of it unless it is completed in the context.

        It becomes the caller's tenant's, unless another one is named.
        """

    async def find(self, file_id: str) -> StoredFile:
        """
        Look a file up.

        Raises:
            NotFound: If there is none, or its time is over.
        """

    async def find_result(self, file_id: str) -> StoredFile:
        """
        Look the result of a task up, for whoever has its address.

        Raises:
            NotFound: If there is none, its time is over, or it is another file.
        """

    async def find_key(self, key: str) -> StoredFile:
        """
        Look up a file of the upload area.

        Raises:
            NotFound: If there is none, or its time is over.
        """

    async def list_files(self, query: FileQuery) -> FilePage:
        """
        List files, newest first.

        Raises:
            NotFound: If the file to begin after does not exist.
        """

    async def delete(self, file_id: str) -> None:
        """
        Forget a file and its content.

        Raises:
            NotFound: If there is none.
        """

    def path_of(self, file: StoredFile) -> Path:
        """Say where a file's content is."""

    async def grant_upload(self, expires_at: datetime) -> tuple[str, str]:
        """Open a folder of the upload area; returns it and the signature that proves it."""

    async def find_grantee(self, folder: str, signature: str) -> str | None:
        """Say to which tenant a folder of the upload area is open; none without its signature."""


class Jobs(Protocol):
    """Accepts jobs, tells how they stand, cancels them; the caller sees their tenant's alone."""

    async def submit(self, order: JobOrder, *, max_of_kind: int | None = None) -> Job:
        """
        Accept a job; from now on it survives whatever happens to the process.

        Args:
            order: What is asked for.

            max_of_kind: Unfinished jobs of its kind that the caller may have, if that is limited.

        Raises:
            TooManyPending: If the caller has as many unfinished ones as may be.
        """

    async def find(self, kind: JobKind, job_id: str) -> Job:
        """
        Tell how a job stands.

        Raises:
            NotFound: If there is none of this kind.
        """

    async def list_jobs(self, query: JobQuery) -> JobPage:
        """
        List jobs, newest first.

        Raises:
            NotFound: If the job to begin after does not exist.
        """

    async def cancel(self, kind: JobKind, job_id: str, *, only_queued: bool = False) -> Job:
        """
        Have a job end with what it has.

        Raises:
            NotFound: If there is none of this kind.
            Conflict: If it cannot be cancelled any more.
        """
