"""Files: what callers upload, and what jobs produce for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NewType

from milvane.domain.callers import ANYONE

FileId = NewType("FileId", str)

_ID = re.compile(r"file-[a-z_]{1,32}-[0-9a-f]{32}")


class FilePurpose(Enum):
    """What a file is for; the first part of its id says so."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    BATCH_ERROR = "batch_error"
    TASK_RESULT = "task_result"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose content is complete."""

    id: FileId
    name: str
    """As its owner calls it: to be shown, never to be used as a path."""
    purpose: FilePurpose
    size_bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    """From then on it does not exist for callers; none if it stays."""
    key: str | None = None
    """Where the owner put it in the upload area; none outside of it."""
    tenant: str = ANYONE.tenant
    """Whose it is."""

    def is_expired(self, now: datetime) -> bool:
        """Its time is over."""
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True, slots=True)
class FileQuery:
    """Which files to list, newest first."""

    limit: int
    after: FileId | None = None
    """The last file already seen; none to start."""
    offset: int = 0
    """Further files to pass over."""
    purposes: frozenset[FilePurpose] = frozenset(FilePurpose)


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files, newest first."""

    files: tuple[StoredFile, ...]
    has_more: bool
    total: int
    """Of all pages."""


def parse_file_id(text: str) -> FileId | None:
    """Take a text as a file id if it has the form of one: such a text is also a safe file name."""
    return FileId(text) if _ID.fullmatch(text) else None


def shown_name(name: str, *, max_characters: int = 255) -> str:
    """Reduce what a caller calls a file to its last part, without control characters."""
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(character for character in last if character.isprintable()).strip()
    return printable[-max_characters:] or "unnamed"
