"""The ledger of usage, on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from milvane.domain.usage import Operation, Outcome, UsageKey, UsageRecord
from milvane.metering.journal import Journal
from milvane.metering.recorder import UsageRecorder
from milvane.metering.reports import UsageReports
from milvane.metering.series import Grouping, UsageQuery
from milvane.metering.settings import MeteringSettings
from milvane.storage.database import Database
from milvane.storage.settings import StorageSettings
from milvane.storage.usage_tables import USAGE_CALLS, USAGE_SEGMENTS
from offices import FakeClock

NEVER_S = 1e6
SETTINGS = MeteringSettings(fold_interval_s=NEVER_S)


@pytest.fixture
async def database(database_url: SecretStr | None, tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty database."""
    async with Database(StorageSettings(database_url=database_url), tmp_path) as database:
        yield database


@pytest.fixture
def clock() -> FakeClock:
    """A clock of one's own."""
    return FakeClock()


class Counter:
    """Makes records that end now."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def __call__(
        self,
        tokens: int,
        *,
        model: str = "text-embedding-v4",
        instance: str = "default",
        operation: Operation = Operation.INSERT,
        caller: str = "root",
        outcome: Outcome = Outcome.SUCCESS,
        duration_s: float = 0.01,
    ) -> UsageRecord:
        """Make one."""
        key = UsageKey(model, "local", instance, operation, "north", caller)
        return UsageRecord(key, self._clock(), duration_s, outcome, inputs=1, tokens=tokens)


@pytest.fixture
def call(clock: FakeClock) -> Counter:
    """What makes records."""
    return Counter(clock)


def recorder_of(database: Database, folder: Path, clock: FakeClock) -> UsageRecorder:
    """Make a recorder that folds when told to."""
    return UsageRecorder(database, folder, SETTINGS, clock=clock)


async def total_tokens(database: Database) -> int:
    """Sum the ledger up."""
    statement = select(func.coalesce(func.sum(USAGE_CALLS.c.tokens), 0))
    return int(await database.read(lambda connection: connection.execute(statement).scalar_one()))


async def test_every_record_is_entered_once(
    database: Database, tmp_path: Path, clock: FakeClock, call: Counter
) -> None:
    """However often the files are looked at; and none of them stays."""
    folder = tmp_path / "usage"
    async with recorder_of(database, folder, clock) as recorder:
        for tokens in (1, 2, 3):
            recorder.record(call(tokens))
        await recorder.fold()
        await recorder.fold()
        recorder.record(call(4))
    assert await total_tokens(database) == 10
    assert list(folder.iterdir()) == []


async def test_file_that_could_not_be_removed_is_not_entered_again(
    database: Database, tmp_path: Path, clock: FakeClock, call: Counter
) -> None:
    """A process that dies between the transaction and the removal counts nothing twice."""
    folder = tmp_path / "usage"
    journal = Journal(folder, fsync=False, max_unwritten=10)
    journal.append(call(5))
    journal.close_segment()
    [path] = journal.list_segments()
    content = path.read_bytes()
    async with recorder_of(database, folder, clock):
        pass
    path.write_bytes(content)
    async with recorder_of(database, folder, clock):
        pass
    assert await total_tokens(database) == 5
    assert not path.exists()


async def test_what_a_dead_process_left_is_brought_in(
    database: Database, tmp_path: Path, clock: FakeClock, call: Counter
) -> None:
    """Including the file that it was writing to, whose last line may be torn."""
    folder = tmp_path / "usage"
    dead = Journal(folder, fsync=False, max_unwritten=10)
    dead.append(call(5))
    dead.append(call(6))
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    async with recorder_of(database, folder, clock):
        pass
    assert await total_tokens(database) == 5


async def test_two_servers_add_up(
    database: Database, tmp_path: Path, clock: FakeClock, call: Counter
) -> None:
    """On one database, each with a folder of its own."""
    reports = UsageReports(database, SETTINGS, clock=clock)
    async with (
        recorder_of(database, tmp_path / "one", clock) as one,
        recorder_of(database, tmp_path / "two", clock) as two,
    ):
        for tokens in (1, 2):
            one.record(call(tokens))
            two.record(call(10 * tokens))
            await one.fold()
            await two.fold()
    query = UsageQuery(clock.now, clock.now + timedelta(seconds=10), 10)
    _, [curve] = await reports.curves(query)
    assert (curve.total.requests, curve.total.tokens) == (4, 33)


async def test_charts_show_what_was_recorded(
    database: Database, tmp_path: Path, clock: FakeClock, call: Counter
) -> None:
    """By time, filtered, told apart, with gaps where no server was."""
    begin = clock.now
    reports = UsageReports(database, SETTINGS, clock=clock)
    async with recorder_of(database, tmp_path / "usage", clock) as recorder:
        recorder.record(call(100, duration_s=0.02))
        recorder.record(call(7, operation=Operation.SEARCH, instance="other"))
        recorder.record(call(0, outcome=Outcome.FAILED))
        clock.advance(20)
        recorder.record(call(50, model="text-embedding-v3"))
    clock.advance(60)
    whole = UsageQuery(begin, begin + timedelta(seconds=40), 10)
    step_s, [curve] = await reports.curves(whole)
    assert step_s == 10
    assert [point.tokens for point in curve.points] == [107, 0, 50, None]
    assert curve.points[0].success_rate == pytest.approx(2 / 3)
    assert curve.points[0].average_s == pytest.approx(0.015)
    searches = UsageQuery(
        begin, begin + timedelta(seconds=10), 10, operations=[Operation.SEARCH], instances=["other"]
    )
    _, [curve] = await reports.curves(searches)
    assert [point.tokens for point in curve.points] == [7]
    models = UsageQuery(begin, begin + timedelta(seconds=30), 10, group_by=Grouping.MODEL)
    _, curves = await reports.curves(models)
    assert [(curve.group, curve.total.tokens) for curve in curves] == [
        ("text-embedding-v4", 107),
        ("text-embedding-v3", 50),
    ]
    assert await reports.names(Grouping.INSTANCE) == ["default", "other"]


async def test_minutes_and_hours_agree_with_the_calls(
    database: Database, tmp_path: Path, clock: FakeClock, call: Counter
) -> None:
    """Every step sums up to the same."""
    begin = clock.now
    reports = UsageReports(database, SETTINGS, clock=clock)
    async with recorder_of(database, tmp_path / "usage", clock) as recorder:
        for number in range(50):
            recorder.record(call(number, caller=f"key-{number % 3}"))
            clock.advance(150)
        hours = await recorder.tokens_since(begin)
    for step_s in (10, 60, 600, 3600):
        _, [curve] = await reports.curves(UsageQuery(begin, clock.now, step_s))
        assert curve.total.tokens == sum(range(50)), step_s
    assert sum(hours.values()) == sum(range(50))
    assert {key[1] for key in hours} == {"key-0", "key-1", "key-2"}


async def test_old_entries_are_forgotten_finest_first(
    database: Database, tmp_path: Path, clock: FakeClock, call: Counter
) -> None:
    """A day later the seconds are gone, and the hours still there."""
    begin = clock.now
    settings = SETTINGS.model_copy(update={"ten_seconds_kept_s": 3600.0, "calls_kept_s": 7200.0})
    reports = UsageReports(database, settings, clock=clock)
    async with UsageRecorder(database, tmp_path / "usage", settings, clock=clock) as recorder:
        recorder.record(call(5))
        await recorder.fold()
        clock.advance(86_400 * 2)
        await recorder.fold()
        await recorder.fold()
    assert await total_tokens(database) == 0
    step_s, [curve] = await reports.curves(UsageQuery(begin, begin + timedelta(hours=1), 10))
    assert (step_s, curve.total.tokens) == (60, 5)
    names = await database.read(
        lambda connection: connection.execute(select(USAGE_SEGMENTS.c.name)).scalars().all()
    )
    assert names == [], "names of files that are gone are forgotten as well"


async def test_name_that_does_not_fit_keeps_nothing_out(
    database: Database, tmp_path: Path, clock: FakeClock, call: Counter
) -> None:
    """Clients name models of remote providers as they like; two names may be cut to one."""
    begin = clock.now
    async with recorder_of(database, tmp_path / "usage", clock) as recorder:
        for model in ("m" * 1000, "m" * 1001, "a\0b"):
            recorder.record(call(1, model=model))
    reports = UsageReports(database, SETTINGS, clock=clock)
    query = UsageQuery(begin, begin + timedelta(seconds=10), 10, group_by=Grouping.MODEL)
    _, curves = await reports.curves(query)
    assert {curve.group: curve.total.tokens for curve in curves} == {"m" * 256: 2, "ab": 1}
