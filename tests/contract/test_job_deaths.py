"""A process that dies at any of its steps: whoever comes next ends the job as if nothing was."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from pydantic import SecretStr

from milvane.domain.files import FilePurpose
from milvane.domain.jobs import Job, JobKind, JobOrder, JobState
from milvane.jobs.runner import JobRunner, Workshop
from milvane.storage.database import Database
from milvane.storage.files import FileStore
from milvane.storage.settings import StorageSettings
from offices import FakeClock, Office, open_office, with_settings

Result = TypeVar("Result")

LINES = 3


class Died(BaseException):
    """The process is no more: nothing catches this, and nothing is written after it."""


class MortalDatabase(Database):
    """A database, and the disk beside it, as a process sees them that dies at one of its steps."""

    def __init__(self, whole: Database, *, dies_at: int, is_done: bool) -> None:
        """
        Share an open database.

        Args:
            whole: What survives.

            dies_at: The number of the step, from 1, that is its last one.

            is_done: Whether that step is done, without the process learning of it.
        """
        self.__dict__.update(whole.__dict__)
        self._left = dies_at
        self._is_done = is_done

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run a step, unless the process is dead."""
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._is_done):
            raise Died
        result = await super().run(work)
        if self._left == 0:
            raise Died
        return result


@pytest.fixture
def clock() -> FakeClock:
    """A clock of one's own."""
    return FakeClock()


@pytest.fixture
async def office(
    tmp_path: Path, clock: FakeClock, database_url: SecretStr | None
) -> AsyncIterator[Office]:
    """An office whose jobs have two pages, and are run by hand."""
    storage = StorageSettings(database_url=database_url)
    async with open_office(tmp_path, clock=clock, storage=storage) as office:
        settings = office.workshop.settings.model_copy(update={"page_lines": 2})
        yield with_settings(office, settings)


def mortal(office: Office, *, dies_at: int, is_done: bool) -> Workshop:
    """See an office's workshop as a process does that dies at one of its steps."""
    shop = office.workshop
    database = MortalDatabase(shop.database, dies_at=dies_at, is_done=is_done)
    files = FileStore(database, office.folder / "files", StorageSettings(), clock=shop.clock)
    return replace(shop, database=database, files=files)


async def order(office: Office, kind: JobKind) -> Job:
    """Hand in a job with one bad line, the last one of a batch."""
    if kind is JobKind.TEXT_TASK:
        texts = b"".join(b"text %d\n" % number for number in range(LINES))
        file = await office.store(texts, "in.txt", FilePurpose.UPLOAD)
        return await office.desk.submit(
            JobOrder(kind, file.id, 86_400, model="text-embedding-async-v2")
        )
    lines = [
        {
            "custom_id": f"c{number}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {
                "model": "text-embedding-v4",
                "input": "" if number == LINES - 1 else f"text {number}",
                "dimensions": 64,
            },
        }
        for number in range(LINES)
    ]
    return await office.order_batch(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


async def check(office: Office, job: Job) -> None:
    """See that a job has ended with each of its lines once."""
    ended = await office.find(job)
    assert ended.state is JobState.COMPLETED
    content = await office.content(ended.output_file_id)
    if job.order.kind is JobKind.TEXT_TASK:
        lines = [json.loads(line)["output"] for line in gzip.decompress(content).splitlines()]
        assert [line["text_index"] for line in lines] == list(range(LINES))
        assert ended.counts.completed == LINES
        return
    answers = [json.loads(line)["custom_id"] for line in content.splitlines()]
    assert answers == [f"c{number}" for number in range(LINES - 1)]
    failures = (await office.content(ended.error_file_id)).splitlines()
    assert [json.loads(line)["custom_id"] for line in failures] == [f"c{LINES - 1}"]
    assert (ended.counts.completed, ended.counts.failed) == (LINES - 1, 1)


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", JobKind)
async def test_death_at_any_step_loses_and_repeats_no_line(
    office: Office, clock: FakeClock, kind: JobKind, is_done: bool
) -> None:
    """Wherever a process dies, before or after what it does there, the next one ends the job."""
    deaths = 0
    while True:
        job = await order(office, kind)
        lease = await office.take("mortal")
        assert lease is not None
        shop = mortal(office, dies_at=deaths + 1, is_done=is_done)
        try:
            await JobRunner(shop, lease).run()
        except Died:
            deaths += 1
            clock.advance(shop.settings.lease_s)
            if not (await office.find(job)).state.is_final:
                await office.run_next("next")
            await check(office, job)
            continue
        await check(office, job)
        break
    assert deaths > 15
    assert await office.take() is None
