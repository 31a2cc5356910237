"""The loop that runs jobs in this process: takes leases, runs, and clears up."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from datetime import timedelta
from functools import partial
from types import TracebackType

import anyio
from typing_extensions import Self

from milvane.domain.errors import ServiceError
from milvane.jobs import ledger
from milvane.jobs.leasing import Lease, lease_end
from milvane.jobs.ledger import LeaseLost
from milvane.jobs.runner import JobRunner, Workshop

LOG = logging.getLogger(__name__)

_SWEEP_INTERVAL_S = 3600.0


class JobWorker:
    """Runs jobs between entering and leaving its context; what is unfinished then is given back."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self._settings = workshop.settings
        self._owner = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(8)}"
        self._wakeup = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to run jobs, those first that an earlier process has left."""
        self._tasks = [
            asyncio.create_task(self._serve(), name=f"job-worker-{number}")
            for number in range(self._settings.running_jobs)
        ]
        self._tasks.append(asyncio.create_task(self._clear_up(), name="job-sweeper"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave every job at its last checkpoint, free for the next process."""
        with anyio.CancelScope(shield=True):
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look for jobs now: one has been handed in."""
        self._wakeup.set()

    async def _serve(self) -> None:
        while True:
            self._wakeup.clear()
            if not await self._serve_one():
                await self._rest()

    async def _serve_one(self) -> bool:
        """Run one job, if there is one; says whether to look for another at once."""
        try:
            lease = await self._claim()
            if lease is None:
                return False
            self._wakeup.set()  # there may be more of them, and others who are idle
            await self._run(lease)
        except Exception:  # the loop outlives whatever one job or the database does
            LOG.exception("unexpected failure of the job worker")
            return False
        return True

    async def _claim(self) -> Lease | None:
        now = self._shop.clock()
        until = lease_end(now, self._settings.lease_s)
        try:
            return await self._shop.database.write(
                partial(ledger.claim, owner=self._owner, now=now, until=until)
            )
        except ServiceError as error:
            LOG.warning("no look for jobs: %s", error)
            return None

    async def _run(self, lease: Lease) -> None:
        LOG.info("job taken job_id=%s lease=%d", lease.job_id, lease.number)
        try:
            await JobRunner(self._shop, lease).run()
        except LeaseLost:
            LOG.warning("job lost to another process job_id=%s", lease.job_id)
        except ServiceError as error:
            LOG.warning("job waits job_id=%s: %s", lease.job_id, error)
            await asyncio.sleep(self._settings.poll_interval_s)
            await self._shop.database.write(partial(ledger.release, lease=lease))

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._wakeup.wait(), self._settings.poll_interval_s)
        except asyncio.TimeoutError:
            return

    async def _clear_up(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception:  # clearing up is tried again, whatever it met
                LOG.exception("clearing up failed")
            await asyncio.sleep(_SWEEP_INTERVAL_S)

    async def sweep(self) -> None:
        """Forget and remove what nobody needs any more; done every hour while jobs are run."""
        kept = timedelta(seconds=self._settings.task_results_kept_s)
        ended_before = self._shop.clock() - kept
        await self._shop.files.sweep()
        await self._shop.database.write(partial(ledger.forget_tasks, ended_before=ended_before))
        # The folders first: whose job has ended by the time it is asked for needs them no more.
        jobs = await self._shop.database.run(self._shop.parts.list_jobs)
        unfinished = await self._shop.database.read(ledger.list_unfinished)
        for job_id in set(jobs) - unfinished:
            await self._shop.database.run(partial(self._shop.parts.remove, job_id))
