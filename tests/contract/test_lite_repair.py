"""What `milvane doctor --repair` does with damaged data directories, and that a start agrees."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lite_rows import LiteClient, running_lite, until
from milvane.domain.errors import Conflict
from milvane.instances.lite.audit_files import examine
from milvane.instances.lite.repair import Action
from milvane.instances.lite.repair_files import plan_directory, repair_directory
from milvane.instances.settings import LiteSettings

CALM = LiteSettings(flush_idle_s=600, flush_max_rows=1_000_000, index_min_rows=100)
ROWS = list(range(150)) + list(range(200, 260))


async def fill(client: LiteClient) -> None:
    """Leave rows in a segment with an index, and in the log."""
    await client.create("rows", index="HNSW")
    await client.insert("rows", range(150))
    await client.flush("rows")
    for first in range(200, 260, 20):
        await client.insert("rows", range(first, first + 20))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose process was killed; tests take copies of it."""
    data_dir = tmp_path_factory.mktemp("killed")

    async def make() -> None:
        import os
        import signal

        async with running_lite(data_dir, CALM) as (lite, client):
            await fill(client)
            await until(lambda: list(data_dir.rglob("*.idx")))
            assert lite.pid is not None
            os.kill(lite.pid, signal.SIGKILL)

    asyncio.run(make())
    return data_dir


def crash_free_copy(killed: Path, data_dir: Path) -> Path:
    """Copy the directory as it was found after the kill; return the collection's folder."""
    shutil.copytree(killed, data_dir)
    return data_dir / "collections" / "rows"


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of a collection."""
    manifest = json.loads((folder / "manifest.json").read_text())
    edit(manifest)
    manifest["version"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))


def tear_log(folder: Path) -> None:
    """Cut a record in half that nobody acknowledged."""
    (log,) = (folder / "wal").glob("wal_data_*")
    with log.open("ab") as file:
        file.write(b"\xff\xff\xff\xff\x10\x01\x00\x00half")


def leave_log(folder: Path) -> None:
    """Leave a log behind whose rows are flushed."""
    (log,) = (folder / "wal").glob("wal_data_*")
    shutil.copy(log, log.with_name("wal_data_000000.arrow"))


def double_segment(folder: Path) -> None:
    """Have the manifest name the same rows twice."""
    segment = next(folder.rglob("data_*.parquet"))
    twin = segment.with_name("data_000001_000999.parquet")
    shutil.copy(segment, twin)
    edit_manifest(
        folder,
        lambda manifest: manifest["partitions"]["_default"]["data_files"].append(
            f"data/{twin.name}"
        ),
    )


def double_half_a_segment(folder: Path) -> None:
    """Have a segment with rows of its own and rows of another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    double_segment(folder)
    twin = next(folder.rglob("data_000001_000999.parquet"))
    rows = pq.ParquetFile(twin).read()
    place = rows.schema.get_field_index("_seq")
    numbers = rows.column("_seq").to_pylist()
    ids = rows.column("id").to_pylist()
    own = [number if i < 100 else 1_000 + i for i, number in enumerate(numbers)]
    rows = rows.set_column(place, rows.schema.field(place), [pa.array(own, pa.uint64())])
    place = rows.schema.get_field_index("id")
    ids = [key if i < 100 else 900 + i for i, key in enumerate(ids)]
    rows = rows.set_column(place, rows.schema.field(place), [pa.array(ids, pa.int64())])
    pq.write_table(rows, twin)


def tear_index(folder: Path) -> None:
    """Cut an index in half."""
    (index,) = folder.rglob("*.idx")
    index.write_bytes(index.read_bytes()[:200])


def half_make(folder: Path) -> None:
    """Leave a folder without a schema."""
    (folder.parent / "half" / "wal").mkdir(parents=True)


def lose_manifest(folder: Path) -> None:
    """Tear the manifest; the one before knows no segment."""
    (folder / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("damages", "actions", "extra"),
    [
        (
            (tear_log, leave_log, half_make, tear_index, double_half_a_segment),
            {Action.REWRITE_LOG, Action.REMOVE, Action.SET_ASIDE, Action.DROP_ROWS},
            list(range(1_000, 1_050)),
        ),
        ((double_segment,), {Action.FORGET}, []),
        ((lose_manifest,), {Action.ADOPT, Action.REMOVE}, []),
    ],
)
async def test_damage_is_repaired_without_loss(
    killed: Path,
    tmp_path: Path,
    damages: tuple[Callable[[Path], None], ...],
    actions: set[Action],
    extra: list[int],
) -> None:
    """After the repair every row is there once, and nothing is left to say."""
    folder = crash_free_copy(killed, tmp_path / "data")
    for damage in damages:
        damage(folder)
    plan = plan_directory(tmp_path / "data")
    assert {step.action for step in plan} == actions
    outcome = repair_directory(tmp_path / "data", has_consent=False)
    assert outcome.left == []
    assert outcome.backup is not None
    assert outcome.backup.is_dir()
    assert plan_directory(tmp_path / "data") == []
    assert not any(each.findings for each in examine(tmp_path / "data").values())
    async with running_lite(tmp_path / "data", CALM) as (_, client):
        assert await client.ids("rows") == ROWS + extra
        assert (await client.search("rows", 3, 1)) == [3]
        await client.create("half")


def test_loss_is_accepted_only_by_a_person(killed: Path, tmp_path: Path) -> None:
    """Without consent a loss stays on record; with it, the next start is silent."""
    folder = crash_free_copy(killed, tmp_path / "data")
    (log,) = (folder / "wal").glob("wal_data_*")
    log.unlink()
    outcome = repair_directory(tmp_path / "data", has_consent=False)
    assert [step.action for step in outcome.left] == [Action.ACCEPT]
    assert "60 acknowledged rows or deletions are missing" in outcome.left[0].reason
    assert repair_directory(tmp_path / "data", has_consent=True).left == []
    assert not any(each.findings for each in examine(tmp_path / "data").values())


async def test_torn_segment_is_given_up_only_with_consent(killed: Path, tmp_path: Path) -> None:
    """A collection with an unreadable file is served again, without its rows, once asked for."""
    folder = crash_free_copy(killed, tmp_path / "data")
    segment = next(folder.rglob("data_*.parquet"))
    segment.write_bytes(segment.read_bytes()[:1_000])
    assert {
        step.action for step in repair_directory(tmp_path / "data", has_consent=False).left
    } == {
        Action.FORGET,
        Action.ACCEPT,
    }
    outcome = repair_directory(tmp_path / "data", has_consent=True)
    assert outcome.backup is not None
    assert (outcome.backup / segment.relative_to(tmp_path / "data")).exists()
    async with running_lite(tmp_path / "data", CALM) as (_, client):
        assert await client.ids("rows") == list(range(200, 260))


async def test_start_keeps_what_milvus_lite_would_delete(killed: Path, tmp_path: Path) -> None:
    """A segment that lost its manifest is copied aside before it is removed as unnamed."""
    folder = crash_free_copy(killed, tmp_path / "data")
    segment = next(folder.rglob("data_*.parquet"))
    lose_manifest(folder)
    async with running_lite(tmp_path / "data", CALM):
        pass
    kept = [path.name for path in (tmp_path / "data" / "recovered").rglob("*.parquet")]
    assert kept == [segment.name]


async def test_directory_in_use_is_not_repaired(tmp_path: Path) -> None:
    """Nobody repairs files that a server changes."""
    async with running_lite(tmp_path, CALM):
        with pytest.raises(Conflict, match="stop it first"):
            repair_directory(tmp_path, has_consent=True)


def test_doctor_says_what_is_wrong_and_repairs_it(killed: Path, tmp_path: Path) -> None:
    """The command names the damage, plans, repairs, and says where the copies are."""
    command = [sys.executable, "-m", "milvane.cli", "doctor", "--data-dir", tmp_path / "data"]

    def doctor(*arguments: str) -> tuple[int, str]:
        run = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return run.returncode, run.stdout + run.stderr

    folder = crash_free_copy(killed, tmp_path / "data")
    leave_log(folder)
    (log,) = (folder / "wal").glob("wal_data_*2.arrow")
    log.unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    status, said = doctor()
    assert status == 1
    assert "60 acknowledged rows or deletions are missing" in said
    assert "`milvane doctor --repair` would remove" in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    status, said = doctor("--repair")
    assert status == 1
    assert "remove collections/rows/wal/wal_data_000000.arrow" in said
    assert "copies of all that was changed are in" in said
    assert "restore a backup, or add --yes" in said
    assert doctor("--repair", "--yes")[0] == 0
    assert "nothing to say about what they hold" in doctor()[1]
