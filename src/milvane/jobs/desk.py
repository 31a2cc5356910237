"""Where front doors hand jobs in, and ask after them, each for its own caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection

from milvane.domain.errors import NotFound
from milvane.domain.jobs import Job, JobKind, JobOrder, JobPage, JobQuery
from milvane.jobs import ledger
from milvane.jobs.ledger import PendingLimits
from milvane.jobs.lifecycle import cancelled
from milvane.serving.callers import current_caller
from milvane.storage.database import Database
from milvane.storage.files import Clock, utc_now


class JobDesk:
    """
    Accepts jobs, tells how they stand, and cancels them; runs none.

    A job is its caller's tenant's: for others it does not exist.
    """

    def __init__(
        self,
        database: Database,
        wake: Callable[[], None],
        *,
        max_pending_jobs: int,
        clock: Clock = utc_now,
    ) -> None:
        """
        Open a desk.

        Args:
            database: Open before anything is called.

            wake: Tells the worker of this process that there is something to do.

            max_pending_jobs: Unfinished jobs that one tenant may have.

            clock: The time of day.
        """
        self._max_pending_jobs = max_pending_jobs
        self._database = database
        self._wake = wake
        self._clock = clock

    async def submit(self, order: JobOrder, *, max_of_kind: int | None = None) -> Job:
        """
        Accept a job; when this returns, it survives whatever happens to the process.

        Args:
            order: What is asked for.

            max_of_kind: Unfinished jobs of its kind that the caller may have, if that is limited.

        Raises:
            TooManyPending: If the caller has as many unfinished ones as may be.
        """
        now = self._clock()
        accept = partial(
            ledger.insert_job,
            order=order,
            tenant=current_caller().tenant,
            limits=PendingLimits(self._max_pending_jobs, max_of_kind),
            now=now,
            until=now + timedelta(seconds=order.window_s),
        )
        job = await self._database.write(accept)
        self._wake()
        return job

    async def find(self, kind: JobKind, job_id: str) -> Job:
        """
        Tell how a job stands.

        Raises:
            NotFound: If the caller has none of this kind.
        """
        job = await self._database.read(partial(ledger.find_job, job_id=job_id))
        is_own = job is not None and job.tenant == current_caller().tenant
        if job is None or not is_own or job.order.kind is not kind:
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
        tenant = current_caller().tenant
        return await self._database.read(partial(ledger.list_jobs, query=query, tenant=tenant))

    async def cancel(self, kind: JobKind, job_id: str, *, only_queued: bool = False) -> Job:
        """
        Have a job end with what it has.

        Args:
            kind: Its kind.

            job_id: Its id.

            only_queued: Leave it alone once it has begun.

        Raises:
            NotFound: If the caller has none of this kind.
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
