"""Runs one job while its lease holds: looks at its file, embeds it page by page, ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from milvane.domain.callers import Caller, Origin
from milvane.domain.errors import (
    Internal,
    NotFound,
    Overloaded,
    QuotaExceeded,
    ServiceError,
    UpstreamUnavailable,
)
from milvane.domain.files import FilePurpose, StoredFile
from milvane.domain.jobs import Job, JobState, LineProblem, NumberedLine
from milvane.domain.usage import Operation
from milvane.jobs import ledger
from milvane.jobs.leasing import Lease, lease_end, renewal_interval_s
from milvane.jobs.ledger import Checkpoint, PageRecord
from milvane.jobs.lifecycle import Step, end_of, next_step, overdue
from milvane.jobs.paging import Page, PageLimits, Position, split_lines, take_page
from milvane.jobs.parts import PartLines, Parts, Written
from milvane.jobs.ports import LineFormat, LineFormats, LineWork
from milvane.jobs.settings import JobsSettings
from milvane.serving.callers import calling
from milvane.serving.embedding import Embedded, EmbeddingService, EmbedRequest
from milvane.storage.database import Database
from milvane.storage.files import Clock, Draft, FileStore, utc_now

LOG = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024
_EXPIRY_LINES = 2048
_MAX_PAUSE_S = 5.0
_ORIGIN = Origin(Operation.JOB)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every job is run with."""

    database: Database
    files: FileStore
    parts: Parts
    formats: LineFormats
    service: EmbeddingService
    settings: JobsSettings
    clock: Clock = utc_now


@dataclass(slots=True)
class _Watch:
    """The state that the present step was chosen for, and whether it still is the job's."""

    state: JobState = JobState.QUEUED
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, state: JobState) -> None:
        self.state = state
        self.changed.clear()

    def see(self, state: JobState) -> None:
        if state is not self.state:
            self.changed.set()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one line asks for, or why it asks for nothing."""

    work: LineWork
    request: EmbedRequest | ServiceError


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one line."""

    work: LineWork
    result: Embedded | ServiceError


class JobRunner:
    """Runs one job under one lease."""

    def __init__(self, workshop: Workshop, lease: Lease) -> None:
        self._shop = workshop
        self._settings = workshop.settings
        self._lease = lease
        self._watch = _Watch()

    async def run(self) -> None:
        """
        Take the job as far as it goes.

        Cancelling this leaves the job where its last checkpoint is, and gives it back.

        Raises:
            LeaseLost: If another process has taken it over.
        """
        work = asyncio.ensure_future(self._take_steps())
        keeper = asyncio.ensure_future(self._keep())
        try:
            await asyncio.wait({work, keeper}, return_when=asyncio.FIRST_COMPLETED)
            await (work if work.done() else keeper)
        except asyncio.CancelledError:
            await _end(work, keeper)
            await self._shop.database.write(partial(ledger.release, lease=self._lease))
            raise
        finally:
            await _end(work, keeper)

    async def _keep(self) -> None:
        """Renew the lease, and notice what others do to the job."""
        while True:
            await asyncio.sleep(renewal_interval_s(self._settings.lease_s))
            renewal = partial(ledger.renew, lease=self._lease, until=self._lease_end())
            try:
                job = await self._shop.database.write(renewal)
            except UpstreamUnavailable:
                continue  # if it stays away for too long, the lease is lost, and that is found out
            self._watch.see(self._state_of(job))

    async def _take_steps(self) -> None:
        while True:
            found = await self._shop.database.read(
                partial(ledger.read_checkpoint, lease=self._lease)
            )
            state = self._state_of(found.job)
            if state is not found.job.state:
                await self._move(found.job.state, state, **self._facts(state))
            elif next_step(state) is Step.REST:
                return
            elif found.stalls >= self._settings.max_stalls:
                await self._give_up(found)
            else:
                self._watch.expect(state)
                await self._unless_changed(self._step(found))
            if state.is_final:
                return

    async def _step(self, found: Checkpoint) -> None:
        job = found.job
        try:
            if next_step(job.state) is Step.BEGIN:
                await self._move(job.state, JobState.VALIDATING)
            elif next_step(job.state) is Step.VALIDATE:
                await self._validate(job)
            elif next_step(job.state) is Step.FINISH:
                await self._finish(job)
            else:
                await self._turn_page(found)
        except (NotFound, FileNotFoundError):
            problem = LineProblem("invalid_input_file", "The input file does not exist any more.")
            await self._fail(job, (problem,))

    async def _validate(self, job: Job) -> None:
        file = await self._shop.files.find(job.order.input_file_id, tenant=job.tenant)
        work = partial(_inspect, self._shop.files.path_of(file), self._format(job), job, file.name)
        findings = await self._shop.database.run(work)
        if findings.problems:
            await self._fail(job, findings.problems)
            return
        facts = {"lines_total": findings.total, "model": findings.model}
        await self._move(job.state, JobState.RUNNING, started_at=self._shop.clock(), **facts)

    async def _turn_page(self, found: Checkpoint) -> None:
        job = found.job
        page = await self._read_page(found)
        if not page.lines:
            if job.state is JobState.EXPIRING:
                await self._finish(job)
            else:
                await self._move(job.state, JobState.FINALIZING, **self._facts(JobState.FINALIZING))
            return
        asked = await self._shop.database.run(
            partial(_read_lines, self._format(job), page.lines, job)
        )
        if job.state is JobState.EXPIRING:
            expiry = self._format(job).expiry()
            outcomes = [_Outcome(line.work, expiry) for line in asked]
        else:
            with calling(Caller(name=job.tenant, tenant=job.tenant), _ORIGIN):
                outcomes = await self._embed(asked)
        await self._record(found, page, outcomes)

    async def _read_page(self, found: Checkpoint) -> Page:
        job = found.job
        file = await self._shop.files.find(job.order.input_file_id, tenant=job.tenant)
        settings = self._settings
        max_lines = _EXPIRY_LINES if job.state is JobState.EXPIRING else settings.page_lines
        return await self._shop.database.run(
            partial(
                _read_page,
                self._shop.files.path_of(file),
                found.position,
                max_line_bytes=self._format(job).max_line_bytes,
                limits=PageLimits(max_lines, settings.page_bytes),
            )
        )

    async def _embed(self, asked: list[_Asked]) -> list[_Outcome]:
        places = asyncio.Semaphore(self._settings.parallel_lines)

        async def embed_one(line: _Asked) -> _Outcome:
            if isinstance(line.request, ServiceError):
                return _Outcome(line.work, line.request)
            async with places:
                return _Outcome(line.work, await self._embed_line(line.request))

        tasks = [asyncio.ensure_future(embed_one(line)) for line in asked]
        try:
            return await asyncio.gather(*tasks)
        finally:
            await _end(*tasks)

    async def _embed_line(self, request: EmbedRequest) -> Embedded | ServiceError:
        while True:
            try:
                return await self._shop.service.embed(request)
            except ServiceError as error:
                if not error.retryable:
                    return error
                pause_s = _pause_s(error)
            except Exception:  # one line that meets a defect must not end the others
                LOG.exception("unexpected failure of a line job_id=%s", self._lease.job_id)
                return Internal("Internal error; the server's log has it.")
            # Nobody waits for this line: the queue is left to those for whom somebody does.
            await asyncio.sleep(pause_s)

    async def _record(self, found: Checkpoint, page: Page, outcomes: list[_Outcome]) -> None:
        failed = sum(isinstance(outcome.result, ServiceError) for outcome in outcomes)
        form = self._format(found.job).result_form
        write = partial(
            _write_part,
            self._shop.parts,
            self._lease,
            found.pages,
            outcomes,
            apart=form.errors_name is not None,
        )
        record = PageRecord(
            page=found.pages,
            part=await self._shop.database.run(write),
            end=page.end,
            completed=len(outcomes) - failed,
            failed=failed,
            tokens=sum(
                outcome.result.total_tokens
                for outcome in outcomes
                if isinstance(outcome.result, Embedded)
            ),
        )
        await self._shop.database.write(
            partial(ledger.record_page, lease=self._lease, page=record, until=self._lease_end())
        )

    async def _finish(self, job: Job) -> None:
        """Put the files together, and end the job with them."""
        database = self._shop.database
        parts = await database.read(partial(ledger.list_parts, lease=self._lease))
        output, errors = await database.run(partial(self._assemble, job, parts))
        finish = partial(
            ledger.finish,
            lease=self._lease,
            old=job.state,
            new=end_of(job.state),
            output=output,
            errors=errors,
            pages=len(parts),
            now=self._shop.clock(),
        )
        if await database.write(finish):
            await database.run(partial(self._shop.parts.remove, job.id))
            LOG.info(
                "job ended job_id=%s state=%s lines=%d failed=%d tokens=%d",
                job.id,
                end_of(job.state).value,
                job.counts.total,
                job.counts.failed,
                job.total_tokens,
            )

    def _assemble(self, job: Job, parts: list[str]) -> tuple[StoredFile | None, StoredFile | None]:
        form = self._format(job).result_form
        join = self._shop.parts
        draft = self._draft(job, form.output_name, form.output_purpose)
        written = join.join_outputs(job.id, parts, draft.path, compress=form.is_compressed)
        output = self._seal(draft, written, keep=form.is_kept_empty)
        if form.errors_name is None:
            return output, None
        draft = self._draft(job, form.errors_name, form.errors_purpose)
        written = join.join_errors(job.id, parts, draft.path)
        return output, self._seal(draft, written, keep=False)

    def _draft(self, job: Job, name: str, purpose: FilePurpose) -> Draft:
        settings = self._settings
        is_task = purpose is FilePurpose.TASK_RESULT
        kept_s = settings.task_results_kept_s if is_task else settings.results_kept_s
        expires_at = self._shop.clock() + timedelta(seconds=kept_s)
        name = name.format(job_id=job.id)
        return self._shop.files.draft(name, purpose, tenant=job.tenant, expires_at=expires_at)

    def _seal(self, draft: Draft, written: Written, *, keep: bool) -> StoredFile | None:
        if not written.size_bytes and not keep:
            draft.path.unlink()
            return None
        return self._shop.files.seal(draft, sha256=written.sha256, size_bytes=written.size_bytes)

    async def _give_up(self, found: Checkpoint) -> None:
        LOG.error("job given up job_id=%s page=%d", found.job.id, found.pages)
        message = f"The server failed {found.stalls} times on the lines from {found.position.line}."
        await self._fail(found.job, (LineProblem("internal_error", message),))

    async def _fail(self, job: Job, problems: tuple[LineProblem, ...]) -> None:
        now = self._shop.clock()
        await self._shop.database.write(
            partial(ledger.fail, lease=self._lease, old=job.state, problems=problems, now=now)
        )
        LOG.info("job failed job_id=%s code=%s", job.id, problems[0].code)

    async def _move(self, old: JobState, new: JobState, **facts: Any) -> None:
        await self._shop.database.write(
            partial(ledger.change_state, lease=self._lease, old=old, new=new, **facts)
        )

    async def _unless_changed(self, step: Coroutine[Any, Any, None]) -> None:
        """Take a step, or leave it in the middle when the job is no longer what it was for."""
        taken = asyncio.ensure_future(step)
        changed = asyncio.ensure_future(self._watch.changed.wait())
        try:
            await asyncio.wait({taken, changed}, return_when=asyncio.FIRST_COMPLETED)
            if taken.done():
                taken.result()
        finally:
            await _end(taken, changed)

    def _facts(self, state: JobState) -> dict[str, datetime]:
        if state.is_final:
            return {"ended_at": self._shop.clock()}
        return {"finalizing_at": self._shop.clock()} if state is JobState.FINALIZING else {}

    def _state_of(self, job: Job) -> JobState:
        return overdue(job.state, expires_at=job.expires_at, now=self._shop.clock())

    def _format(self, job: Job) -> LineFormat:
        return self._shop.formats[job.order.kind]

    def _lease_end(self) -> datetime:
        return lease_end(self._shop.clock(), self._settings.lease_s)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _pieces(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(_READ_BYTES):
            yield piece


def _inspect(path: Path, line_format: LineFormat, job: Job, name: str) -> Any:
    lines = split_lines(
        _pieces(path, 0), start=Position(), max_line_bytes=line_format.max_line_bytes
    )
    return line_format.inspect(lines, job.order, name)


def _read_page(path: Path, start: Position, *, max_line_bytes: int, limits: PageLimits) -> Page:
    pieces = _pieces(path, start.offset)
    lines = split_lines(pieces, start=start, max_line_bytes=max_line_bytes)
    return take_page(lines, start=start, limits=limits)


def _read_lines(line_format: LineFormat, lines: tuple[NumberedLine, ...], job: Job) -> list[_Asked]:
    return [_ask(line_format.read(line, job)) for line in lines]


def _ask(work: LineWork) -> _Asked:
    try:
        return _Asked(work, work.request())
    except ServiceError as error:
        return _Asked(work, error)


def _write_part(
    parts: Parts, lease: Lease, page: int, outcomes: list[_Outcome], *, apart: bool
) -> str:
    output: list[bytes] = []
    errors: list[bytes] = []
    for outcome in outcomes:
        if isinstance(outcome.result, Embedded):
            output.append(outcome.work.render_result(outcome.result))
        else:
            failure = outcome.work.render_failure(outcome.result)
            (errors if apart else output).append(failure)
    return parts.write(lease, page, PartLines(output, errors))


def _pause_s(error: ServiceError) -> float:
    if isinstance(error, Overloaded | QuotaExceeded):
        return min(_MAX_PAUSE_S, max(0.01, error.retry_after_s))
    return 1.0
