"""Jobs: durable work on the lines of a file, that its caller does not wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NewType

from milvane.domain.callers import ANYONE
from milvane.domain.files import FileId, FilePurpose
from milvane.domain.models import Purpose

JobId = NewType("JobId", str)


class JobKind(Enum):
    """Which front door a job came through; decides how its lines are written."""

    BATCH = "batch"
    """Lines are requests, each with an id of its own."""
    TEXT_TASK = "text_task"
    """Lines are texts."""


class JobState(Enum):
    """How far a job is."""

    QUEUED = "queued"
    VALIDATING = "validating"
    RUNNING = "running"
    FINALIZING = "finalizing"
    """Every line has ended; the files are being put together."""
    EXPIRING = "expiring"
    """Out of time: the lines that are left are being reported as not done."""
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing changes any more."""
        return self in _FINAL


_FINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """One line of an input file, without its end."""

    number: int
    """From 0; blank lines count."""
    content: bytes
    """Cut to just above the limit if it is too long."""
    end_offset: int
    """Where the next line begins, in bytes from the start of the file."""


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why an input file is not accepted."""

    code: str
    message: str
    line: int | None = None
    """Number of the line, from 0; none if the file as a whole is meant."""
    parameter: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at a whole input file showed."""

    total: int
    """Lines that are not blank."""
    model: str
    problems: tuple[LineProblem, ...]
    """None if the file is good; not all there are if there are many."""


@dataclass(frozen=True, slots=True)
class ResultForm:
    """What files a job leaves."""

    output_name: str
    output_purpose: FilePurpose
    errors_name: str | None
    """None if failed lines stand among the others."""
    errors_purpose: FilePurpose
    is_compressed: bool
    is_kept_empty: bool
    """Leave an output file even if it has no lines."""


@dataclass(frozen=True, slots=True)
class LineCounts:
    """Progress: how many lines there are, and how they ended so far."""

    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        """Lines that have not ended."""
        return self.total - self.completed - self.failed


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What a caller asks for."""

    kind: JobKind
    input_file_id: FileId
    window_s: float
    """Seconds from now after which it expires."""
    window: str = ""
    """The same as the caller wrote it."""
    endpoint: str = ""
    """What each line must name; empty if lines name none."""
    model: str = ""
    """Empty if the lines name it."""
    purpose: Purpose = Purpose.DOCUMENT
    request_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands."""

    id: JobId
    order: JobOrder
    state: JobState
    model: str
    """Empty until it is known."""
    counts: LineCounts
    total_tokens: int
    problems: tuple[LineProblem, ...]
    created_at: datetime
    expires_at: datetime
    started_at: datetime | None = None
    """When its lines began to be embedded."""
    finalizing_at: datetime | None = None
    cancelling_at: datetime | None = None
    ended_at: datetime | None = None
    output_file_id: FileId | None = None
    error_file_id: FileId | None = None
    tenant: str = ANYONE.tenant
    """Whose it is."""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs to list, newest first; an empty set or none does not restrict."""

    kind: JobKind
    limit: int
    after: JobId | None = None
    """The last job already seen; none to start."""
    offset: int = 0
    states: frozenset[JobState] = frozenset()
    input_file_ids: frozenset[FileId] = frozenset()
    name: str | None = None
    """A part of what the metadata call `ds_name`."""
    model: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first."""

    jobs: tuple[Job, ...]
    has_more: bool
    total: int
    """Of all pages."""
