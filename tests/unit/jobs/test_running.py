"""Jobs from order to end, in front of a hashing engine and a clock that stands still."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from milvane.domain.errors import Conflict, NotFound, Overloaded
from milvane.domain.files import FilePurpose
from milvane.domain.jobs import Job, JobKind, JobOrder, JobQuery, JobState
from milvane.domain.models import Lane
from milvane.jobs import ledger
from milvane.jobs.ledger import LeaseLost, PageRecord
from milvane.jobs.paging import Position
from milvane.jobs.runner import JobRunner
from milvane.jobs.settings import JobsSettings
from milvane.storage.files import utc_now
from milvane.testing.engines import HashingEngine
from offices import FakeClock, Office, open_office, with_settings

DAY_S = 86_400.0


def line(number: int, **body: Any) -> bytes:
    """Make a line of a batch."""
    request = {
        "custom_id": f"c{number}",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "text-embedding-v4", "input": f"text {number}", "dimensions": 64} | body,
    }
    return json.dumps(request).encode() + b"\n"


def batch_of(lines: int) -> bytes:
    """Make a batch of good lines."""
    return b"".join(line(number) for number in range(lines))


class HeldEngine(HashingEngine):
    """Embeds a number of texts, then nothing more until it is let go."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        self.is_held = asyncio.Event()
        self.go = asyncio.Event()
        self._left = texts

    async def embed(self, *args: Any, **keywords: Any) -> Any:
        """Embed, or wait."""
        self._left -= 1
        if self._left < 0:
            self.is_held.set()
            await self.go.wait()
        return await super().embed(*args, **keywords)


@pytest.fixture
def clock() -> FakeClock:
    """A clock of one's own."""
    return FakeClock()


@pytest.fixture
async def office(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Office]:
    """An office whose jobs are run by hand."""
    async with open_office(tmp_path, clock=clock) as office:
        yield office


async def lines_of(office: Office, file_id: str | None) -> list[dict[str, Any]]:
    """Read a file of lines."""
    return [json.loads(each) for each in (await office.content(file_id)).splitlines()]


async def test_batch_ends_with_answers_and_failures(office: Office) -> None:
    """Good lines are answered, bad ones told apart, blank ones passed over, all of them counted."""
    bad = line(2, input=["a", ""]) + line(3, dimensions=7) + line(4, input=[[1, 2]])
    job = await office.order_batch(batch_of(2) + b"\n" + bad + b"  \r\n" + line(5).rstrip())
    await office.run_next()
    job = await office.find(job)
    assert (job.state, job.model) == (JobState.COMPLETED, "text-embedding-v4")
    assert (job.counts.total, job.counts.completed, job.counts.failed) == (6, 3, 3)
    answers = await lines_of(office, job.output_file_id)
    assert [each["custom_id"] for each in answers] == ["c0", "c1", "c5"]
    bodies = [each["response"]["body"] for each in answers]
    assert all(len(body["data"][0]["embedding"]) == 64 for body in bodies)
    assert job.total_tokens == sum(body["usage"]["total_tokens"] for body in bodies) > 0
    failures = await lines_of(office, job.error_file_id)
    assert [each["custom_id"] for each in failures] == ["c2", "c3", "c4"]
    assert [each["response"]["status_code"] for each in failures] == [400, 400, 400]
    assert "Range of input length" in failures[0]["error"]["message"]
    assert "dimension for embedding v4" in failures[1]["error"]["message"]


async def test_jobs_are_embedded_behind_those_who_wait(tmp_path: Path) -> None:
    """Every line goes to the engine in the bulk lane."""
    engine = HashingEngine()
    async with open_office(tmp_path, engine=engine) as office:
        await office.order_batch(batch_of(10))
        await order_task(office, b"a\n" * 10)
        await office.run_next()
        await office.run_next()
    assert {call.lane for call in engine.calls} == {Lane.BULK}
    assert engine.embedded_texts == 20


@pytest.mark.parametrize(
    ("content", "code", "at"),
    [
        (b"", "empty_file", None),
        (b"{}\n", "missing_required_parameter", 0),
        (line(1) + b"no json\n", "invalid_json_line", 1),
        (line(1) + line(1), "duplicate_custom_id", 1),
        (line(1) + line(2, model="text-embedding-v3"), "mismatched_model", 1),
        (line(1, model="gpt"), "model_not_found", 0),
        (line(1).replace(b"/v1/embeddings", b"/v1/chat"), "mismatched_url", 0),
        (line(1).replace(b"POST", b"GET"), "invalid_method", 0),
        (line(1, input="x" * 7_000_000), "line_too_long", 0),
    ],
)
async def test_wrong_file_fails_by_name(
    office: Office, content: bytes, code: str, at: int | None
) -> None:
    """A file that breaks a rule fails the batch under the rule's name, with nothing computed."""
    job = await office.order_batch(content)
    await office.run_next()
    job = await office.find(job)
    assert (job.state, job.counts.completed) == (JobState.FAILED, 0)
    assert (job.problems[0].code, job.problems[0].line) == (code, at)
    assert job.output_file_id is None


async def test_deleted_input_fails_the_batch(office: Office) -> None:
    """A batch whose file has been deleted meanwhile says so."""
    job = await office.order_batch(batch_of(3))
    await office.files.delete(job.order.input_file_id)
    await office.run_next()
    job = await office.find(job)
    assert (job.state, job.problems[0].code) == (JobState.FAILED, "invalid_input_file")


async def run_until_held(office: Office, engine: HeldEngine) -> asyncio.Task[None]:
    """Run the next job until its engine stops."""
    running = asyncio.create_task(office.run_next())
    await engine.is_held.wait()
    return running


async def test_cancelled_batch_keeps_what_was_done(tmp_path: Path) -> None:
    """A batch cancelled in the middle of a page ends soon, with the pages before it."""
    engine = HeldEngine(texts=10)
    async with open_office(tmp_path, engine=engine) as office:
        job = await office.order_batch(batch_of(30))
        running = await run_until_held(office, engine)
        assert (await office.desk.cancel(JobKind.BATCH, job.id)).state is JobState.CANCELLING
        await running
        job = await office.find(job)
        assert (job.state, job.counts.completed) == (JobState.CANCELLED, 8)
        assert len(await lines_of(office, job.output_file_id)) == 8
        with pytest.raises(Conflict):
            await office.desk.cancel(JobKind.BATCH, job.id)


async def test_expired_batch_reports_what_is_left(tmp_path: Path, clock: FakeClock) -> None:
    """When time is up, the lines done have answers and the others say that they expired."""
    engine = HeldEngine(texts=8)
    async with open_office(tmp_path, engine=engine, clock=clock) as office:
        job = await office.order_batch(batch_of(20), window_s=DAY_S)
        running = await run_until_held(office, engine)
        clock.advance(DAY_S)
        await running
        job = await office.find(job)
        assert job.state is JobState.EXPIRED
        assert (job.counts.completed, job.counts.failed) == (8, 12)
        done = await lines_of(office, job.output_file_id)
        left = await lines_of(office, job.error_file_id)
        assert [each["custom_id"] for each in done + left] == [f"c{n}" for n in range(20)]
        assert {each["error"]["code"] for each in left} == {"batch_expired"}


async def test_batch_that_waited_too_long_just_expires(office: Office, clock: FakeClock) -> None:
    """A batch that nobody had time for expires without files."""
    job = await office.order_batch(batch_of(3), window_s=DAY_S)
    clock.advance(DAY_S + 1)
    await office.run_next()
    job = await office.find(job)
    assert (job.state, job.output_file_id) == (JobState.EXPIRED, None)
    assert job.ended_at == clock.now


async def test_interrupted_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    """A runner that is stopped gives its job back, and the next one embeds only what is left."""
    engine = HeldEngine(texts=16)
    async with open_office(tmp_path, engine=engine) as office:
        job = await office.order_batch(batch_of(30))
        running = await run_until_held(office, engine)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await office.find(job)).counts.completed == 16
        engine.go.set()
        before = engine.embedded_texts
        await office.run_next()
        job = await office.find(job)
        assert (job.state, job.counts.completed) == (JobState.COMPLETED, 30)
        assert engine.embedded_texts - before == 14
        answers = await lines_of(office, job.output_file_id)
        assert [each["custom_id"] for each in answers] == [f"c{n}" for n in range(30)]


@pytest.mark.parametrize("successor", ["second", "first"])
async def test_late_holder_is_refused(tmp_path: Path, clock: FakeClock, successor: str) -> None:
    """A holder that was silent too long can record nothing once the job has been taken anew."""
    async with open_office(tmp_path, clock=clock) as office:
        job = await office.order_batch(batch_of(3))
        first = await office.take("first")
        assert first is not None
        assert await office.take("second") is None
        clock.advance(3)
        second = await office.take(successor)
        assert second is not None
        page = PageRecord(0, "part", Position(10, 1), completed=1, failed=0, tokens=1)
        for work in (
            lambda connection: ledger.record_page(connection, first, page, until=clock.now),
            lambda connection: ledger.renew(connection, first, until=clock.now),
            lambda connection: ledger.list_parts(connection, first),
            lambda connection: ledger.fail(connection, first, JobState.QUEUED, (), now=clock.now),
        ):
            with pytest.raises(LeaseLost):
                await office.workshop.database.write(work)
        with pytest.raises(LeaseLost):
            await JobRunner(office.workshop, first).run()
        assert (await office.find(job)).counts.completed == 0
        await JobRunner(office.workshop, second).run()
        assert (await office.find(job)).counts.completed == 3


async def test_page_is_recorded_once(office: Office, clock: FakeClock) -> None:
    """The same page cannot be counted twice, even by one holder."""
    await office.order_batch(batch_of(3))
    lease = await office.take()
    assert lease is not None
    page = PageRecord(0, "part", Position(10, 1), completed=1, failed=0, tokens=1)

    def record(connection: Any) -> None:
        ledger.record_page(connection, lease, page, until=clock.now)

    await office.workshop.database.write(record)
    with pytest.raises(LeaseLost):
        await office.workshop.database.write(record)


async def test_two_workers_share_the_work(tmp_path: Path) -> None:
    """Two processes on one database run each job once between them."""
    engines = (HashingEngine(), HashingEngine())
    settings = JobsSettings(page_lines=4, lease_s=5, poll_interval_s=0.05, running_jobs=2)
    async with (
        open_office(tmp_path, engine=engines[0], jobs=settings) as one,
        open_office(tmp_path, engine=engines[1], jobs=settings) as other,
    ):
        jobs = [await one.order_batch(batch_of(12)) for _ in range(8)]
        async with one.worker, other.worker:
            ended = [await one.settled(job) for job in jobs]
    assert all(job.counts.completed == 12 for job in ended)
    assert engines[0].embedded_texts + engines[1].embedded_texts == 8 * 12


class BusyEngine(HashingEngine):
    """Is overloaded a number of times."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self._refusals = refusals

    async def embed(self, *args: Any, **keywords: Any) -> Any:
        """Refuse or embed."""
        if self._refusals:
            self._refusals -= 1
            raise Overloaded("the queue is full", retry_after_s=0.001)
        return await super().embed(*args, **keywords)


async def test_overload_delays_and_fails_no_line(tmp_path: Path) -> None:
    """A job waits for the engine as long as it must."""
    async with open_office(tmp_path, engine=BusyEngine(refusals=9)) as office:
        job = await office.order_batch(batch_of(5))
        await office.run_next()
        assert (await office.find(job)).counts.completed == 5


class BrokenEngine(HashingEngine):
    """Has a defect that shows on some texts."""

    async def embed(self, token_ids: Any, **keywords: Any) -> Any:
        """Embed, or fail."""
        if len(token_ids[0]) == 3:
            raise RuntimeError("a secret")
        return await super().embed(token_ids, **keywords)


async def test_defect_fails_only_the_line_that_meets_it(tmp_path: Path) -> None:
    """A line that meets a defect is reported without its details, and the others are answered."""
    async with open_office(tmp_path, engine=BrokenEngine()) as office:
        job = await office.order_batch(line(0) + line(1, input="a b c") + line(2))
        await office.run_next()
        job = await office.find(job)
        assert (job.counts.completed, job.counts.failed) == (2, 1)
        errors = await office.content(job.error_file_id)
        assert b"InternalError" in errors
        assert b"secret" not in errors


async def test_job_that_kills_its_holders_is_given_up(office: Office, clock: FakeClock) -> None:
    """A page on which process after process dies does not do so for ever."""
    job = await office.order_batch(batch_of(3))
    settings = JobsSettings(max_stalls=3, lease_s=2)
    for _ in range(3):
        assert await office.take("will die")
        clock.advance(3)
    await with_settings(office, settings).run_next()
    job = await office.find(job)
    assert (job.state, job.problems[0].code) == (JobState.FAILED, "internal_error")


async def order_task(office: Office, content: bytes, name: str = "in.txt") -> Job:
    """Hand a file of texts in."""
    file = await office.store(content, name, FilePurpose.UPLOAD)
    return await office.desk.submit(
        JobOrder(JobKind.TEXT_TASK, file.id, DAY_S, model="text-embedding-async-v2")
    )


async def test_only_what_waits_can_be_taken_back(office: Office) -> None:
    """A task that has not begun is cancelled at once; one that has begun is left alone."""
    waiting = await order_task(office, b"a\n")
    cancelled = await office.desk.cancel(JobKind.TEXT_TASK, waiting.id, only_queued=True)
    assert cancelled.state is JobState.CANCELLED
    assert await office.take() is None
    begun = await order_task(office, b"a\n")
    await office.run_next()
    with pytest.raises(Conflict):
        await office.desk.cancel(JobKind.TEXT_TASK, begun.id, only_queued=True)


async def test_jobs_are_found_by_kind(office: Office) -> None:
    """A batch is no task, and a list holds one kind, newest first, page by page."""
    batch = await office.order_batch(batch_of(1))
    tasks = [await order_task(office, b"a\n") for _ in range(3)]
    with pytest.raises(NotFound):
        await office.desk.find(JobKind.TEXT_TASK, batch.id)
    query = JobQuery(JobKind.TEXT_TASK, limit=2)
    page = await office.desk.list_jobs(query)
    assert (page.total, page.has_more) == (3, True)
    rest = await office.desk.list_jobs(JobQuery(JobKind.TEXT_TASK, limit=2, after=page.jobs[-1].id))
    assert not rest.has_more
    listed = [job.id for job in page.jobs + rest.jobs]
    assert sorted(listed) == sorted(task.id for task in tasks)


async def test_worker_runs_what_is_handed_in(tmp_path: Path) -> None:
    """A running worker takes a job up without being asked twice, and clears up after it."""
    async with open_office(tmp_path, clock=utc_now) as office, office.worker:
        job = await office.settled(await office.order_batch(batch_of(20)))
        assert job.state is JobState.COMPLETED
        await office.worker.sweep()
    assert not list((tmp_path / "files" / "parts").iterdir())


async def test_sweep_leaves_what_is_needed(tmp_path: Path, clock: FakeClock) -> None:
    """Clearing up removes results and tasks whose time is over, and nothing of unfinished jobs."""
    engine = HeldEngine(texts=9)
    async with open_office(tmp_path, engine=engine, clock=clock) as office:
        task = await order_task(office, b"a\n")
        await office.run_next()
        task = await office.find(task)
        assert task.output_file_id is not None
        batch = await office.order_batch(batch_of(20), window_s=14 * DAY_S)
        running = await run_until_held(office, engine)
        clock.advance(DAY_S + 1)
        await office.worker.sweep()
        with pytest.raises(NotFound):
            await office.files.find(task.output_file_id)
        with pytest.raises(NotFound):
            await office.find(task)
        engine.go.set()
        await running
        assert (await office.find(batch)).counts.completed == 20
