"""
Results of pages on disk, until the job's files are put together from them.

A part is named after its page, its writer's lease and chance, so two writers of one page never
touch the same file; which of them counts is said by SQL alone. Everything here blocks.
"""

from __future__ import annotations

import gzip
import hashlib
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from milvane.domain.errors import UpstreamUnavailable
from milvane.domain.jobs import JobId
from milvane.jobs.leasing import Lease
from milvane.storage.syncing import sync

_COPY_BYTES = 1024 * 1024
_OUTPUT, _ERRORS = "output", "errors"


@dataclass(frozen=True, slots=True)
class PartLines:
    """The lines that one page came to, without line ends."""

    output: Sequence[bytes]
    errors: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Written:
    """What a file that was put together holds."""

    size_bytes: int
    sha256: str


class Parts:
    """The folder of parts, a folder for each job in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, lease: Lease, page: int, lines: PartLines) -> str:
        """
        Write the results of a page, safe on disk when this returns.

        Returns:
            The part's name, to be recorded.

        Raises:
            UpstreamUnavailable: If the disk is full.
        """
        folder = self._folder / lease.job_id
        part = f"{page:06d}-{lease.number}-{secrets.token_hex(8)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for kind, content in ((_OUTPUT, lines.output), (_ERRORS, lines.errors)):
                if content:
                    path = folder / f"{part}.{kind}"
                    path.write_bytes(b"".join(line + b"\n" for line in content))
                    sync(path)
            sync(folder)
        except OSError as error:
            raise UpstreamUnavailable(f"results cannot be stored: {error.strerror}") from error
        return part

    def join_outputs(
        self, job_id: JobId, parts: Iterable[str], target: Path, *, compress: bool
    ) -> Written:
        """Put the results of all pages together in one file."""
        return self._join(job_id, parts, _OUTPUT, target, compress=compress)

    def join_errors(self, job_id: JobId, parts: Iterable[str], target: Path) -> Written:
        """Put the failures of all pages together in one file."""
        return self._join(job_id, parts, _ERRORS, target, compress=False)

    def remove(self, job_id: JobId) -> None:
        """Remove all parts of a job."""
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def list_jobs(self) -> list[JobId]:
        """List the jobs that have parts."""
        if not self._folder.is_dir():
            return []
        return [JobId(folder.name) for folder in self._folder.iterdir()]

    def _join(
        self, job_id: JobId, parts: Iterable[str], kind: str, target: Path, *, compress: bool
    ) -> Written:
        try:
            with target.open("xb") as file, _packed(file, compress=compress) as packed:
                for piece in self._pieces(job_id, parts, kind):
                    packed.write(piece)
            return _measure(target)
        except OSError as error:
            raise UpstreamUnavailable(f"results cannot be stored: {error.strerror}") from error

    def _pieces(self, job_id: JobId, parts: Iterable[str], kind: str) -> Iterator[bytes]:
        for part in parts:
            path = self._folder / job_id / f"{part}.{kind}"
            if path.exists():
                with path.open("rb") as file:
                    while piece := file.read(_COPY_BYTES):
                        yield piece


def _packed(file: BinaryIO, *, compress: bool) -> AbstractContextManager[BinaryIO]:
    if not compress:
        return nullcontext(file)
    # Vectors hardly shrink: the fastest level loses nothing.
    packed = gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0)
    return cast("AbstractContextManager[BinaryIO]", packed)


def _measure(path: Path) -> Written:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_COPY_BYTES):
            digest.update(piece)
        return Written(file.tell(), digest.hexdigest())
