"""Jobs of all tenants, for the operator."""

from __future__ import annotations

from collections.abc import Set
from functools import partial

from sqlalchemy import Connection, func, select

from milvane.domain.callers import Caller
from milvane.domain.errors import NotFound
from milvane.domain.jobs import Job, JobPage, JobState
from milvane.jobs import ledger
from milvane.jobs.desk import JobDesk
from milvane.jobs.rows import job_of
from milvane.serving.callers import calling
from milvane.storage.database import Database
from milvane.storage.tables import JOBS


class JobOverseer:
    """Lists and cancels jobs, whoever's they are."""

    def __init__(self, database: Database, desk: JobDesk) -> None:
        self._database = database
        self._desk = desk

    async def list_all(
        self, *, states: Set[JobState] = frozenset(), limit: int, offset: int = 0
    ) -> JobPage:
        """List jobs of all tenants and kinds, newest first; no states are all states."""
        read = partial(read_all, states=states, limit=limit, offset=offset)
        return await self._database.read(read)

    async def cancel(self, job_id: str, *, actor: str) -> Job:
        """
        Have a job end with what it has.

        Raises:
            NotFound: If there is none.
            Conflict: If it cannot be cancelled any more.
        """
        job = await self._database.read(partial(ledger.find_job, job_id=job_id))
        if job is None:
            raise NotFound(f"no job {job_id!r}")
        with calling(Caller(name=actor, tenant=job.tenant)):
            return await self._desk.cancel(job.order.kind, job.id)


def read_all(connection: Connection, *, states: Set[JobState], limit: int, offset: int) -> JobPage:
    """Read a page of the jobs of all tenants, newest first."""
    chosen = [JOBS.c.state.in_(sorted(state.value for state in states))] if states else []
    total = connection.execute(select(func.count()).select_from(JOBS).where(*chosen)).scalar()
    listed = (
        select(JOBS)
        .where(*chosen)
        .order_by(JOBS.c.created_at.desc(), JOBS.c.id.desc())
        .offset(offset)
        .limit(limit + 1)
    )
    rows = connection.execute(listed).all()
    jobs = tuple(job_of(row) for row in rows[:limit])
    return JobPage(jobs, has_more=len(rows) > limit, total=total or 0)
