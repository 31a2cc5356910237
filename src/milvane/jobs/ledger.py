"""
What SQL knows of jobs: every function is a part of a transaction, and blocks.

Whatever the holder of a lease records names the lease, and is refused once another holds the job.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Update,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from milvane.domain.errors import TooManyPending
from milvane.domain.files import StoredFile
from milvane.domain.jobs import (
    Job,
    JobId,
    JobKind,
    JobOrder,
    JobPage,
    JobQuery,
    JobState,
    LineCounts,
    LineProblem,
)
from milvane.jobs.leasing import Lease
from milvane.jobs.lifecycle import FOLLOWERS
from milvane.jobs.paging import Position
from milvane.jobs.rows import conditions_of, job_of, new_row
from milvane.storage.file_records import record
from milvane.storage.tables import JOB_PAGES, JOBS
from milvane.storage.turns import take_turn

_ID_PREFIXES: Mapping[JobKind, str] = {JobKind.BATCH: "batch_", JobKind.TEXT_TASK: "task-"}
_UNFINISHED = [state.value for state in JobState if not state.is_final]


class LeaseLost(Exception):
    """Another process holds the job, or it is gone: nothing of this holder counts any more."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A job as its holder finds it."""

    job: Job
    pages: int
    """Pages recorded so far."""
    position: Position
    """Where the next one begins."""
    stalls: int
    """Holders before this one that got nowhere, in a row."""


@dataclass(frozen=True, slots=True)
class PageRecord:
    """What one page of lines came to."""

    page: int
    """Its number, from 0."""
    part: str
    """Where its results are."""
    end: Position
    completed: int
    failed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """How many jobs of one tenant may be unfinished."""

    of_all_kinds: int
    of_its_kind: int | None = None
    """No limit of its own if none."""


def insert_job(
    connection: Connection,
    order: JobOrder,
    *,
    tenant: str,
    limits: PendingLimits,
    now: datetime,
    until: datetime,
) -> Job:
    """
    Accept a job.

    Raises:
        TooManyPending: If its tenant has as many unfinished ones as may be.
    """
    _check_pending(connection, order.kind, tenant, limits)
    job = Job(
        id=JobId(_ID_PREFIXES[order.kind] + secrets.token_hex(16)),
        order=order,
        state=JobState.QUEUED,
        model=order.model,
        counts=LineCounts(),
        total_tokens=0,
        problems=(),
        created_at=now,
        expires_at=until,
        tenant=tenant,
    )
    connection.execute(insert(JOBS).values(new_row(job)))
    return job


def find_job(connection: Connection, job_id: str) -> Job | None:
    """Read a job."""
    row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).one_or_none()
    return None if row is None else job_of(row)


def list_jobs(connection: Connection, query: JobQuery, *, tenant: str) -> JobPage:
    """Read a page of the jobs of a tenant, newest first."""
    conditions = [JOBS.c.tenant == tenant, *conditions_of(query)]
    total = connection.execute(select(func.count()).select_from(JOBS).where(*conditions)).scalar()
    rows = connection.execute(_after(connection, query, select(JOBS).where(*conditions))).all()
    jobs = tuple(job_of(row) for row in rows[: query.limit])
    return JobPage(jobs, has_more=len(rows) > query.limit, total=total or 0)


def claim(connection: Connection, owner: str, *, now: datetime, until: datetime) -> Lease | None:
    """
    Take a job that nobody holds, those to be cancelled first.

    Tenants take turns: next is one of whom the fewest jobs are held, of those the one whose last
    job began longest ago, and of its jobs the one that has waited longest.
    """
    is_free = or_(JOBS.c.lease_until.is_(None), JOBS.c.lease_until <= now)
    turns = (
        select(
            JOBS.c.tenant,
            func.sum(case((JOBS.c.lease_until > now, 1), else_=0)).label("held"),
            func.coalesce(func.max(type_coerce(JOBS.c.started_at, BigInteger)), 0).label("began"),
        )
        .group_by(JOBS.c.tenant)
        .subquery()
    )
    waiting = (
        select(JOBS.c.id, JOBS.c.attempts)
        .join(turns, turns.c.tenant == JOBS.c.tenant)
        .where(JOBS.c.state.in_(_UNFINISHED), is_free)
        .order_by(
            JOBS.c.state != JobState.CANCELLING.value,
            turns.c.held,
            turns.c.began,
            JOBS.c.created_at,
            JOBS.c.id,
        )
        .limit(1)
    )
    row = connection.execute(waiting).one_or_none()
    if row is None:
        return None
    taken = connection.execute(
        update(JOBS)
        .where(JOBS.c.id == row.id, JOBS.c.attempts == row.attempts, is_free)
        .values(
            lease_owner=owner,
            lease_until=until,
            attempts=row.attempts + 1,
            stalls=JOBS.c.stalls + 1,
        )
    )
    # Where transactions run beside each other, another process may have been quicker.
    return Lease(JobId(row.id), owner, row.attempts + 1) if taken.rowcount == 1 else None


def renew(connection: Connection, lease: Lease, *, until: datetime) -> Job:
    """
    Hold a job for longer, and see how it stands.

    Raises:
        LeaseLost: If another holds it.
    """
    _held(connection, update(JOBS).where(_is(lease)).values(lease_until=until))
    return read_checkpoint(connection, lease).job


def release(connection: Connection, lease: Lease) -> None:
    """Give a job back to whoever is free next; the holder has not failed."""
    connection.execute(
        update(JOBS).where(_is(lease)).values(lease_owner=None, lease_until=None, stalls=0)
    )


def read_checkpoint(connection: Connection, lease: Lease) -> Checkpoint:
    """
    Read a job that is held.

    Raises:
        LeaseLost: If another holds it.
    """
    row = connection.execute(select(JOBS).where(_is(lease))).one_or_none()
    if row is None:
        raise LeaseLost(lease.job_id)
    position = Position(row.input_offset, row.input_line)
    return Checkpoint(job_of(row), row.pages, position, row.stalls - 1)


def change_state(
    connection: Connection, lease: Lease, old: JobState, new: JobState, **facts: Any
) -> bool:
    """
    Move a held job on, unless its caller has moved it elsewhere meanwhile.

    Args:
        connection: The transaction.

        lease: Who asks.

        old: What the decision was made from.

        new: What it is to be.

        facts: Other columns to set.

    Returns:
        Whether it was moved.

    Raises:
        LeaseLost: If another holds it.
        ValueError: If the one state never follows the other.
    """
    if new not in FOLLOWERS[old]:
        raise ValueError(f"{new} never follows {old}")
    if new.is_final:
        facts |= {"lease_until": None}
    moved = connection.execute(
        update(JOBS).where(_is(lease), JOBS.c.state == old.value).values(state=new.value, **facts)
    )
    if moved.rowcount == 0:
        read_checkpoint(connection, lease)
        return False
    if new.is_final:
        connection.execute(delete(JOB_PAGES).where(JOB_PAGES.c.job_id == lease.job_id))
    return True


def fail(
    connection: Connection,
    lease: Lease,
    old: JobState,
    problems: tuple[LineProblem, ...],
    *,
    now: datetime,
) -> bool:
    """End a held job with the reasons; see `change_state` for the rest."""
    said = [asdict(problem) for problem in problems]
    return change_state(connection, lease, old, JobState.FAILED, problems=said, ended_at=now)


def record_page(connection: Connection, lease: Lease, page: PageRecord, *, until: datetime) -> None:
    """
    Count a page of lines as done, once.

    Raises:
        LeaseLost: If another holds the job.
    """
    _held(
        connection,
        update(JOBS)
        .where(_is(lease), JOBS.c.pages == page.page)
        .values(
            pages=page.page + 1,
            input_offset=page.end.offset,
            input_line=page.end.line,
            lines_completed=JOBS.c.lines_completed + page.completed,
            lines_failed=JOBS.c.lines_failed + page.failed,
            total_tokens=JOBS.c.total_tokens + page.tokens,
            lease_until=until,
            stalls=1,  # the present holder counts until it gives the job back
        ),
    )
    connection.execute(
        insert(JOB_PAGES).values(job_id=lease.job_id, page=page.page, part=page.part)
    )


def list_parts(connection: Connection, lease: Lease) -> list[str]:
    """
    List where the results of each page are, in the order of the pages.

    Raises:
        LeaseLost: If another holds the job.
    """
    read_checkpoint(connection, lease)
    pages = select(JOB_PAGES.c.part).where(JOB_PAGES.c.job_id == lease.job_id)
    return list(connection.execute(pages.order_by(JOB_PAGES.c.page)).scalars())


def finish(
    connection: Connection,
    lease: Lease,
    old: JobState,
    new: JobState,
    *,
    output: StoredFile | None,
    errors: StoredFile | None,
    pages: int,
    now: datetime,
) -> bool:
    """End a held job with the files of so many pages; see `change_state` for the rest."""
    files = {
        "output_file_id": output and output.id,
        "error_file_id": errors and errors.id,
    }
    if read_checkpoint(connection, lease).pages != pages:
        return False
    if not change_state(connection, lease, old, new, ended_at=now, **files):
        return False
    for file in (output, errors):
        if file is not None:
            record(connection, file)
    return True


def set_cancelled(connection: Connection, job: Job, new: JobState, *, now: datetime) -> bool:
    """Move a job that its caller does not want; whether it still was as it had been read."""
    facts: dict[str, Any] = {"cancelling_at": now}
    if new.is_final:
        facts |= {"ended_at": now}
    moved = connection.execute(
        update(JOBS)
        .where(JOBS.c.id == job.id, JOBS.c.state == job.state.value)
        .values(state=new.value, **facts)
    )
    return moved.rowcount == 1


def forget_tasks(connection: Connection, *, ended_before: datetime) -> None:
    """Forget asynchronous tasks that ended long ago."""
    connection.execute(
        delete(JOBS).where(JOBS.c.kind == JobKind.TEXT_TASK.value, JOBS.c.ended_at < ended_before)
    )


def list_unfinished(connection: Connection) -> set[JobId]:
    """List the jobs whose parts are still needed."""
    found = connection.execute(select(JOBS.c.id).where(JOBS.c.state.in_(_UNFINISHED)))
    return {JobId(job_id) for job_id in found.scalars()}


def _check_pending(
    connection: Connection, kind: JobKind, tenant: str, limits: PendingLimits
) -> None:
    take_turn(connection, f"jobs of {tenant}")
    pending = (
        select(JOBS.c.kind, func.count())
        .where(JOBS.c.tenant == tenant, JOBS.c.state.in_(_UNFINISHED))
        .group_by(JOBS.c.kind)
    )
    counts = {str(row[0]): int(row[1]) for row in connection.execute(pending)}
    if sum(counts.values()) >= limits.of_all_kinds:
        raise TooManyPending(limits.of_all_kinds)
    if limits.of_its_kind is not None and counts.get(kind.value, 0) >= limits.of_its_kind:
        raise TooManyPending(limits.of_its_kind)


def _is(lease: Lease) -> ColumnElement[bool]:
    return and_(
        JOBS.c.id == lease.job_id,
        JOBS.c.lease_owner == lease.owner,
        JOBS.c.attempts == lease.number,
    )


def _held(connection: Connection, change: Update) -> None:
    if connection.execute(change).rowcount != 1:
        raise LeaseLost


def _after(connection: Connection, query: JobQuery, listed: Select[Any]) -> Select[Any]:
    after = None if query.after is None else find_job(connection, query.after)
    if after is not None:
        created_at = JOBS.c.created_at
        listed = listed.where(
            or_(
                created_at < after.created_at,
                and_(created_at == after.created_at, JOBS.c.id < after.id),
            )
        )
    ordered = listed.order_by(JOBS.c.created_at.desc(), JOBS.c.id.desc())
    return ordered.offset(query.offset).limit(query.limit + 1)
