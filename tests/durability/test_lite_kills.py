"""What survives the sudden death of the Lite process: everything that it acknowledged, once."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from pymilvus.grpc_gen import milvus_pb2

from lite_rows import SMALL, LiteClient, Refused, running_lite
from milvane.domain.errors import Conflict, UpstreamUnavailable
from milvane.instances.lite.journal import Action, CollectionKey, Journal
from milvane.instances.lite.recovery import empty_manifest
from milvane.instances.lite.supervisor import LiteInstance, LiteState
from milvane.instances.settings import LiteSettings

BATCH = 10
CALM = LiteSettings(flush_idle_s=600, flush_max_rows=1_000_000)
"""Settings with which nothing is flushed unless a test asks for it."""


@dataclass
class Ledger:
    """What a test tried to write, and what it was told."""

    tried: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    uncertain: set[int] = field(default_factory=set)
    """Rows whose deletion was sent but not answered."""


async def write(client: LiteClient, name: str, writer: int, ledger: Ledger, rounds: int) -> None:
    """Insert batch after batch, and delete a row of some; what fails is not tried again."""
    random_rows = random.Random(writer)
    for number in range(rounds):
        first = writer * 1_000_000 + number * BATCH
        ids = list(range(first, first + BATCH))
        ledger.tried.update(ids)
        try:
            ledger.acknowledged.update(await client.insert(name, ids))
            if random_rows.random() < 0.3:
                ledger.uncertain.add(first)
                await client.delete(name, f"id in [{first}]")
                ledger.deleted.add(first)
        except UpstreamUnavailable:
            await asyncio.sleep(0.05)


async def read_until(done: asyncio.Event, client: LiteClient, name: str) -> None:
    """Count and search, whatever happens to the process."""
    while not done.is_set():
        try:
            await client.count(name)
            found = await client.search(name, 1_000_000)
            assert len(set(found)) == len(found)
        except UpstreamUnavailable:
            await asyncio.sleep(0.05)


async def flush_until(done: asyncio.Event, client: LiteClient, name: str) -> None:
    """Flush now and then, beside the flushes of the policy."""
    while not done.is_set():
        try:
            await client.flush(name)
        except UpstreamUnavailable:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)


async def kill_until(done: asyncio.Event, lite: LiteInstance, seed: int) -> int:
    """Kill the process at random moments; returns how often."""
    moments = random.Random(seed)
    kills = 0
    while not done.is_set():
        await asyncio.sleep(moments.uniform(0.1, 0.9))
        if lite.pid is not None and lite.state is LiteState.READY:
            os.kill(lite.pid, signal.SIGKILL)
            kills += 1
            with anyio.move_on_after(20):
                await lite.wait_target(20, unlike=lite.status.target)
    return kills


async def check(client: LiteClient, name: str, ledger: Ledger) -> None:
    """Assert that each row is there exactly once, by list, by number and by search."""
    present = await client.ids(name)
    assert len(present) == len(set(present)), "rows are there twice"
    lost = ledger.acknowledged - ledger.uncertain - set(present)
    assert not lost, f"{len(lost)} acknowledged rows are lost"
    assert not set(present) & ledger.deleted, "deleted rows are back"
    assert set(present) <= ledger.tried, "rows are there that nobody wrote"
    assert await client.count(name) == len(present)
    for row in random.Random(0).sample(present, min(12, len(present))):
        found = await client.search(name, row)
        assert found[0] == row
        assert len(set(found)) == len(found)


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_kills_lose_and_double_nothing(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight writers, two readers and flushes: each acknowledged row is there once after kills."""
    ledgers = {"one": Ledger(), "two": Ledger()}
    done = asyncio.Event()
    async with running_lite(tmp_path) as (lite, client):
        for name in ledgers:
            await client.create(name)

        async def all_writers() -> None:
            names = ["one"] * 5 + ["two"] * 3
            await asyncio.gather(
                *(write(client, name, i + 1, ledgers[name], 45) for i, name in enumerate(names))
            )
            done.set()

        _, kills, *_ = await asyncio.gather(
            all_writers(),
            kill_until(done, lite, seed),
            *(read_until(done, client, name) for name in ledgers),
            *(flush_until(done, client, name) for name in ledgers),
        )
        assert kills > 0
        assert lite.status.restarts >= kills
        for name, ledger in ledgers.items():
            await check(client, name, ledger)
    async with running_lite(tmp_path) as (_, client):
        for name, ledger in ledgers.items():
            await check(client, name, ledger)
    audit = [each.message for each in caplog.records if each.name.endswith(".audit_files")]
    assert audit == []


async def test_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    """A stop while writers, flushes and searches run keeps all that was acknowledged."""
    ledger = Ledger()
    for lap in range(3):
        done = asyncio.Event()
        async with running_lite(tmp_path) as (lite, client):
            if lap == 0:
                await client.create("rows")
            writers = [
                asyncio.create_task(write(client, "rows", lap * 8 + i + 1, ledger, 1_000))
                for i in range(8)
            ]
            others = [
                asyncio.create_task(read_until(done, client, "rows")),
                asyncio.create_task(flush_until(done, client, "rows")),
            ]
            await asyncio.sleep(0.8)
            await lite.__aexit__(None, None, None)
            for writer in writers:
                writer.cancel()
            done.set()
            await asyncio.gather(*writers, return_exceptions=True)
            await asyncio.gather(*others)
    assert len(ledger.acknowledged) > 100
    async with running_lite(tmp_path) as (_, client):
        await check(client, "rows", ledger)


async def test_death_between_commit_and_removal_of_the_log_doubles_nothing(tmp_path: Path) -> None:
    """A log whose rows are in a segment already is not read a second time."""
    logs = tmp_path / "collections" / "rows" / "wal"
    async with running_lite(tmp_path, CALM) as (lite, client):
        await client.create("rows")
        await client.insert("rows", range(20))
        await client.delete("rows", "id in [3]")
        saved = {path.name: path.read_bytes() for path in logs.iterdir()}
        await client.flush("rows")
        kill(lite)
    restore(logs, saved)
    for _ in range(2):
        async with running_lite(tmp_path, CALM) as (_, client):
            expected = [row for row in range(20) if row != 3]
            assert await client.ids("rows") == expected
            assert await client.count("rows") == 19
            assert sorted(await client.search("rows", 5, 100)) == expected


async def test_leftover_log_beside_newer_rows_doubles_nothing(tmp_path: Path) -> None:
    """The same holds when rows were written after the flush, and after the next flush."""
    logs = tmp_path / "collections" / "rows" / "wal"
    async with running_lite(tmp_path, CALM) as (lite, client):
        await client.create("rows")
        await client.insert("rows", range(20))
        saved = {path.name: path.read_bytes() for path in logs.iterdir()}
        await client.flush("rows")
        await client.insert("rows", range(100, 120))
        kill(lite)
    restore(logs, saved)
    async with running_lite(tmp_path, CALM) as (_, client):
        expected = [*range(20), *range(100, 120)]
        assert await client.ids("rows") == expected
        await client.flush("rows")
        assert await client.ids("rows") == expected


async def test_torn_log_is_read_to_its_last_whole_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What follows the last whole write was never acknowledged; it is dropped and reported."""
    logs = tmp_path / "collections" / "rows" / "wal"
    async with running_lite(tmp_path, CALM) as (lite, client):
        await client.create("rows")
        for first in range(0, 50, 10):
            await client.insert("rows", range(first, first + 10))
        kill(lite)
    for path in logs.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        async with running_lite(tmp_path, CALM) as (lite, client):
            assert await client.ids("rows") == list(range(40))
            await client.insert("rows", range(40, 60))
            kill(lite)
    assert "4 whole batches (40 rows) are kept" in caplog.text
    async with running_lite(tmp_path, CALM) as (_, client):
        assert await client.ids("rows") == list(range(60))


async def test_half_made_collection_does_not_block_its_name(tmp_path: Path) -> None:
    """A death while a collection was being created leaves its name free."""
    (tmp_path / "collections" / "rows" / "wal").mkdir(parents=True)
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")
        await client.insert("rows", [1])
        assert await client.count("rows") == 1


async def test_half_done_removals_are_finished(tmp_path: Path) -> None:
    """A death in the middle of a drop or a truncation leaves what was asked for, and no half."""
    async with running_lite(tmp_path) as (lite, client):
        for name in ("dropped", "emptied"):
            await client.create(name)
            await client.insert(name, range(10))
            await client.flush(name)
        await client.change(
            "CreateAlias", milvus_pb2.CreateAliasRequest(collection_name="dropped", alias="also")
        )
        kill(lite)
    half_remove(tmp_path)
    async with running_lite(tmp_path) as (_, client):
        assert await client.ids("emptied") == []
        await client.insert("emptied", [5])
        assert await client.search("emptied", 5) == [5]
        for name in ("dropped", "also"):
            with pytest.raises(Refused, match="does not exist"):
                await client.count(name)
        await client.create("dropped")


def half_remove(data_dir: Path) -> None:
    """Leave behind what a death in the middle of a drop and of a truncation does."""
    import json

    journal = Journal(data_dir)
    journal.begin(Action.DROP, CollectionKey("default", "dropped"))
    (data_dir / "collections" / "dropped" / "schema.json").unlink()
    emptied = data_dir / "collections" / "emptied"
    schema, manifest = (
        json.loads((emptied / name).read_text()) for name in ("schema.json", "manifest.json")
    )
    journal.begin(
        Action.TRUNCATE,
        CollectionKey("default", "emptied"),
        schema=schema,
        manifest=empty_manifest(manifest),
    )
    shutil.rmtree(emptied)


async def test_acknowledged_rows_survive_with_a_write_per_disk_sync(tmp_path: Path) -> None:
    """With the strictest setting, rows are written and read as without it."""
    settings = SMALL.model_copy(update={"fsync": True})
    async with running_lite(tmp_path, settings) as (lite, client):
        await client.create("rows")
        for first in range(0, 200, 20):
            await client.insert("rows", range(first, first + 20))
        kill(lite)
    async with running_lite(tmp_path, settings) as (_, client):
        assert await client.ids("rows") == list(range(200))


async def test_calls_wait_for_a_restart_and_reads_are_tried_again(tmp_path: Path) -> None:
    """A reader notices a death of the process only as a pause."""
    async with running_lite(tmp_path) as (lite, client):
        await client.create("rows")
        await client.insert("rows", range(30))
        for _ in range(2):
            kill(lite)
            assert await client.count("rows") == 30
            kill(lite)
            await lite.wait_target(10, unlike=lite.status.target)
            await client.insert("rows", [7])
        assert lite.status.restarts == 4
        assert "SIGKILL" in (lite.status.last_error or "")


async def test_calls_fail_with_a_retriable_error_when_a_restart_takes_long(tmp_path: Path) -> None:
    """Nobody waits longer than the operator allows."""
    settings = LiteSettings(wait_for_restart_s=0)
    async with running_lite(tmp_path, settings) as (lite, client):
        await client.create("rows")
        kill(lite)
        with pytest.raises(UpstreamUnavailable, match="restarting; retry") as caught:
            await client.count("rows")
        assert caught.value.retryable


async def test_instance_ends_while_its_process_is_being_restarted(tmp_path: Path) -> None:
    """A stop that comes between two processes starts no third, and waits for none."""
    async with running_lite(tmp_path, LiteSettings(wait_for_restart_s=0)) as (lite, _):
        kill(lite)
        status = lite.status
        while status.state is not LiteState.RESTARTING:
            status = await lite.wait_change(status)
    assert (lite.state, lite.pid) == (LiteState.STOPPED, None)


async def test_instance_ends_while_its_process_is_starting(tmp_path: Path) -> None:
    """A stop that comes just before a new process is there ends that one as well."""
    async with running_lite(tmp_path, LiteSettings(wait_for_restart_s=0)) as (lite, _):
        first = lite.pid
        kill(lite)
        status = lite.status
        while status.pid in {first, None}:
            status = await lite.wait_change(status)
    assert (lite.state, lite.pid) == (LiteState.STOPPED, None)


async def test_second_instance_on_a_directory_is_refused(tmp_path: Path) -> None:
    """Two instances never share a data directory, and the message says which and what to do."""
    async with running_lite(tmp_path):
        with pytest.raises(Conflict, match=f"{tmp_path}.*stop it"):
            async with LiteInstance(SMALL, tmp_path):
                pytest.fail("a second instance has started")
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")


async def test_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The error of a failed start ends with the process's own last words."""
    (tmp_path / "LOCK").mkdir()
    with pytest.raises(UpstreamUnavailable, match="did not become ready") as caught:
        async with LiteInstance(SMALL, tmp_path):
            pytest.fail("it has started")
    assert "LOCK" in caught.value.message


async def test_process_ends_with_its_parent(tmp_path: Path) -> None:
    """When whoever supervises it is killed, the process ends, and the directory is free."""
    program = (
        "import asyncio, pathlib, sys\n"
        "from milvane.instances.lite.supervisor import LiteInstance\n"
        "from milvane.instances.settings import LiteSettings\n"
        "async def main():\n"
        "    async with LiteInstance(LiteSettings(), pathlib.Path(sys.argv[1])) as lite:\n"
        "        print(lite.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(  # noqa: ASYNC220 - the event loop has nothing else to do
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        parent.kill()
    await asyncio.to_thread(wait_until, lambda: not is_alive(pid))
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows")


async def test_long_paths_get_a_socket_elsewhere(tmp_path: Path) -> None:
    """A data directory deeper than a socket's path may be long works all the same."""
    data_dir = tmp_path / ("deep" * 20) / "data"
    async with running_lite(data_dir) as (lite, client):
        await client.create("rows")
        target = Path((lite.status.target or "").removeprefix("unix:"))
        assert mode_of(target.parent) == 0o700
        assert tmp_path not in target.parents
    assert not target.parent.exists()


async def test_stopped_instance_leaves_no_log_behind(tmp_path: Path) -> None:
    """After a stop in order, all rows are in segments, and the next start reads no log."""
    async with running_lite(tmp_path, CALM) as (lite, client):
        await client.create("rows")
        await client.insert("rows", range(30))
    assert lite.state is LiteState.STOPPED
    assert lite.status.last_error is None
    assert list(tmp_path.rglob("wal_*.arrow")) == []  # noqa: ASYNC240 - nothing else runs


def mode_of(path: Path) -> int:
    """Read the permissions of a directory."""
    return path.stat().st_mode & 0o777


def kill(lite: LiteInstance) -> None:
    """End the process as a power cut does, but with the page cache kept."""
    assert lite.pid is not None
    os.kill(lite.pid, signal.SIGKILL)


def restore(folder: Path, files: dict[str, bytes]) -> None:
    """Put files back that a flush has removed."""
    for name, content in files.items():
        (folder / name).write_bytes(content)


def is_alive(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool], patience_s: float = 10) -> None:
    """Wait for another process, which has no other way to tell."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
