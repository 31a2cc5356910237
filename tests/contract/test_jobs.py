"""Jobs on SQLite, and on PostgreSQL where there is one: who gets them, and what comes of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from milvane.domain.callers import Caller
from milvane.domain.errors import InvalidInput, TooManyPending
from milvane.domain.jobs import Job, JobKind, JobQuery, JobState
from milvane.jobs.runner import JobRunner
from milvane.jobs.settings import JobsSettings
from milvane.serving.callers import calling
from milvane.storage.settings import StorageSettings
from offices import Office, open_office

SETTINGS = JobsSettings(page_lines=4, lease_s=30, poll_interval_s=0.05, running_jobs=2)


@pytest.fixture
async def offices(database_url: SecretStr | None, tmp_path: Path) -> AsyncIterator[list[Office]]:
    """Two offices as two processes would have them: one database, one folder."""
    storage = StorageSettings(database_url=database_url)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_office(tmp_path, jobs=SETTINGS, storage=storage))
            for _ in range(2)
        ]
        yield opened


def batch_of(lines: int) -> bytes:
    """Make a batch."""
    requests = (
        {
            "custom_id": f"c{number}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "text-embedding-v4", "input": f"text {number}", "dimensions": 64},
        }
        for number in range(lines)
    )
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


async def test_each_job_is_taken_by_one(offices: list[Office]) -> None:
    """However many ask at the same time, no job has two holders, and none is left over."""
    jobs = [await offices[0].order_batch(batch_of(1)) for _ in range(6)]
    taken = []
    while len(taken) < len(jobs):
        asked = [office.take(f"owner {number}") for number in range(5) for office in offices]
        taken += [lease for lease in await asyncio.gather(*asked) if lease is not None]
    assert sorted(lease.job_id for lease in taken) == sorted(job.id for job in jobs)
    assert await offices[0].take() is None


async def test_limit_holds_for_orders_at_the_same_time(offices: list[Office]) -> None:
    """However many orders of one caller come at once, no more jobs are unfinished than may be."""
    order = (await offices[0].order_batch(batch_of(1))).order
    asked = [office.desk.submit(order, max_of_kind=3) for _ in range(4) for office in offices]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(outcome, Job) for outcome in outcomes) == 2
    assert sum(isinstance(outcome, TooManyPending) for outcome in outcomes) == 6


async def test_tenants_take_turns(offices: list[Office]) -> None:
    """Who hands in many jobs waits with the second one until others have had their first."""
    office, _ = offices
    owners = {}
    for tenant in ["many", "many", "many", "few", "one", "few"]:
        with calling(Caller(name=tenant, tenant=tenant)):
            owners[(await office.order_batch(batch_of(1))).id] = tenant
    turns = []
    while (lease := await office.take()) is not None:
        turns.append(owners[lease.job_id])
        await JobRunner(office.workshop, lease).run()
    assert turns == ["many", "few", "one", "many", "few", "many"]


async def test_held_jobs_count_as_a_turn(offices: list[Office]) -> None:
    """While a job of one tenant is held, the next free place is another's."""
    office, other = offices
    owners = {}
    for tenant in ["many", "many", "few"]:
        with calling(Caller(name=tenant, tenant=tenant)):
            owners[(await office.order_batch(batch_of(1))).id] = tenant
    taken = [await office.take(), await other.take(), await office.take()]
    assert [owners[lease.job_id] for lease in taken if lease] == ["many", "few", "many"]


async def test_two_workers_do_every_line_once(offices: list[Office]) -> None:
    """Two workers on one database end every job with every line once."""
    one, other = offices
    jobs = [await one.order_batch(batch_of(10)) for _ in range(4)]
    async with one.worker, other.worker:
        ended = [await one.settled(job) for job in jobs]
    for job in ended:
        assert (job.state, job.counts.completed) == (JobState.COMPLETED, 10)
        lines = (await one.content(job.output_file_id)).splitlines()
        assert [json.loads(line)["custom_id"] for line in lines] == [f"c{n}" for n in range(10)]


async def test_jobs_are_listed_by_what_they_are(offices: list[Office]) -> None:
    """A list holds those jobs that every part of the query fits."""
    office, _ = offices
    jobs = [await office.order_batch(batch_of(1)) for _ in range(3)]
    await office.desk.cancel(JobKind.BATCH, jobs[1].id)

    async def ids(**parts: object) -> set[str]:
        page = await office.desk.list_jobs(
            JobQuery(JobKind.BATCH, limit=9, **parts)  # type: ignore[arg-type]
        )
        return {job.id for job in page.jobs}

    assert await ids() == {job.id for job in jobs}
    assert await ids(states=frozenset({JobState.CANCELLING})) == {jobs[1].id}
    assert await ids(input_file_ids=frozenset({jobs[2].order.input_file_id})) == {jobs[2].id}
    assert await ids(created_before=jobs[1].created_at) == {jobs[0].id}
    assert await ids(created_from=jobs[1].created_at) == {jobs[1].id, jobs[2].id}
    assert await ids(name="%") == set()
    with contextlib.suppress(InvalidInput):
        assert await ids(name="a\0b") == set()
