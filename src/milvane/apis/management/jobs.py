"""Jobs of all tenants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from milvane.apis.management.bundle import ByManager, Management
from milvane.apis.management.ports import Insight
from milvane.control_plane.commands import Change
from milvane.domain.jobs import Job, JobKind, JobState

MAX_JOBS = 200


class JobAnswer(BaseModel):
    """A job as it stands."""

    id: str
    kind: JobKind
    tenant: str
    state: JobState
    is_final: bool
    model: str
    """Empty until it is known."""
    total: int
    """Lines; 0 until they are counted."""
    completed: int
    failed: int
    tokens: int
    problem: str
    """Why it failed; empty if it did not."""
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> JobAnswer:
        """Show a job."""
        return cls(
            id=job.id,
            kind=job.order.kind,
            tenant=job.tenant,
            state=job.state,
            is_final=job.state.is_final,
            model=job.model or job.order.model,
            total=job.counts.total,
            completed=job.counts.completed,
            failed=job.counts.failed,
            tokens=job.total_tokens,
            problem=job.problems[0].message if job.problems else "",
            created_at=job.created_at,
            expires_at=job.expires_at,
            ended_at=job.ended_at,
        )


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: Sequence[JobAnswer]
    total: int
    """Of all pages."""


def jobs_router(management: Management, insight: Insight) -> APIRouter:
    """Build the routes of jobs."""
    router = APIRouter(prefix="/jobs")

    @router.get("")
    async def list_jobs(
        limit: Annotated[int, Query(ge=1, le=MAX_JOBS)] = 50,
        offset: Annotated[int, Query(ge=0)] = 0,
        state: Annotated[list[JobState], Query()] = [],  # noqa: B006 - read only, by FastAPI
    ) -> JobList:
        """List batches and tasks of all tenants, newest first."""
        page = await insight.overseer.list_all(states=frozenset(state), limit=limit, offset=offset)
        return JobList(jobs=[JobAnswer.of(job) for job in page.jobs], total=page.total)

    @router.post("/{job_id}/cancel")
    async def cancel_job(job_id: str, manager: ByManager) -> JobAnswer:
        """Have a job end with what it has, whoever's it is."""
        job = await insight.overseer.cancel(job_id, actor=manager.name)

        def note(change: Change) -> None:
            change.note("job.cancel", job_id, tenant=job.tenant)

        await management.plane.change(manager.name, note)
        return JobAnswer.of(job)

    return router
