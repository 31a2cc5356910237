"""Where front doors hand jobs in, and ask after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection

from milvane.domain.errors import NotFound
from milvane.domain.jobs import Job, JobKind, JobOrder, JobPage, JobQuery
from milvane.jobs import ledger
from milvane.jobs.lifecycle import cancelled
from milvane.storage.database import Database
from milvane.storage.files import Clock, utc_now


class JobDesk:
    """Accepts jobs, tells how they stand, and cancels them; runs none."""

    def __init__(
        self, database: Database, wake: Callable[[], None], *, clock: Clock = utc_now
    ) -> None:
        """
        Open a desk.

        Args:
            database: Open before anything is called.

            wake: Tells the worker of this process that there is something to do.

            clock: The time of day.
        """
        self._database = database
        self._wake = wake
        self._clock = clock

    async def submit(self, order: JobOrder) -> Job:
        """Accept a job; when this returns, it survives whatever happens to the process."""
        now = self._clock()
        until = now + timedelta(seconds=order.window_s)
        job = await self._database.write(
            partial(ledger.insert_job, order=order, now=now, until=until)
        )
        self._wake()
        return job

    async def find(self, kind: JobKind, job_id: str) -> Job:
        """
        Tell how a job stands.

        Raises:
            NotFound: If there is none of this kind.
        """
        job = await self._database.read(partial(ledger.find_job, job_id=job_id))
        if job is None or job.order.kind is not kind:
            raise NotFound(f"no {kind.value} {job_id!r}")
        return job

    async def list_jobs(self, query: JobQuery) -> JobPage:
        """
        List jobs, newest first.

        Raises:
            NotFound: If the job to begin after does not exist.
        """
        if query.after is not None:
            await self.find(query.kind, query.after)
        return await self._database.read(partial(ledger.list_jobs, query=query))

    async def cancel(self, kind: JobKind, job_id: str, *, only_queued: bool = False) -> Job:
        """
        Have a job end with what it has.

        Args:
            kind: Its kind.

            job_id: Its id.

            only_queued: Leave it alone once it has begun.

        Raises:
            NotFound: If there is none of this kind.
            Conflict: If it cannot be cancelled any more.
        """
        await self.find(kind, job_id)
        job = await self._database.write(
            partial(self._cancel, job_id=job_id, only_queued=only_queued)
        )
        self._wake()
        return job

    def _cancel(self, connection: Connection, *, job_id: str, only_queued: bool) -> Job:
        now = self._clock()
        while (job := ledger.find_job(connection, job_id)) is not None:
            state = cancelled(job.state, only_queued=only_queued)
            if state is job.state:
                return job
            if ledger.set_cancelled(connection, job, state, now=now):
                return replace(
                    job,
                    state=state,
                    cancelling_at=now,
                    ended_at=now if state.is_final else None,
                )
        raise NotFound(f"no job {job_id!r}")
