"""What a start says about a data directory that does not hold what was acknowledged."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from pathlib import Path

import pytest

from lite_rows import LiteClient, running_lite
from milvane.instances.lite.audit import Difference
from milvane.instances.lite.audit_files import examine
from milvane.instances.lite.audit_ledger import read_account
from milvane.instances.lite.supervisor import LiteInstance
from milvane.instances.settings import LiteSettings

CALM = LiteSettings(flush_idle_s=600, flush_max_rows=1_000_000, index_min_rows=1_000_000)


def kill(lite: LiteInstance) -> None:
    """End the process at once."""
    assert lite.pid is not None
    os.kill(lite.pid, signal.SIGKILL)


def differences(data_dir: Path) -> dict[Difference, int]:
    """Say what the audit finds in the files."""
    return {
        finding.difference: finding.count
        for each in examine(data_dir).values()
        for finding in each.findings
    }


async def fill(client: LiteClient) -> None:
    """Write rows to segments and to the log, and delete of both."""
    await client.create("rows")
    await client.insert("rows", range(40))
    await client.delete("rows", "id in [1, 2]")
    await client.flush("rows")
    for first in range(100, 160, 20):
        await client.insert("rows", range(first, first + 20))
    await client.delete("rows", "id in [3, 100]")


async def test_acknowledged_writes_are_on_the_account_of_a_killed_process(tmp_path: Path) -> None:
    """What was acknowledged is written down, whatever kills the process, and nothing differs."""
    async with running_lite(tmp_path, CALM) as (lite, client):
        await fill(client)
        account = read_account(tmp_path / "collections" / "rows")
        assert account is not None
        assert (account.rows, account.tombstones) == (60, 2)
        assert account.acknowledged_seq == account.base_seq + 61
        kill(lite)
    assert differences(tmp_path) == {}


async def test_lost_log_is_reported_at_every_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that the disk did not keep are missed by number, until somebody accepts it."""
    async with running_lite(tmp_path, CALM) as (lite, client):
        await fill(client)
        kill(lite)
    (log,) = tmp_path.rglob("wal_data_*.arrow")  # noqa: ASYNC240 - nothing else runs
    log.write_bytes(log.read_bytes()[:-100])
    assert differences(tmp_path) == {Difference.LOST: 20}
    for sentence in ("20 acknowledged rows or deletions are missing", "at an earlier start"):
        with caplog.at_level(logging.ERROR):
            caplog.clear()
            async with running_lite(tmp_path, CALM) as (_, client):
                assert await client.count("rows") == 37 + 39
        assert sentence in caplog.text
        assert "restore a backup" in caplog.text


async def test_missing_segment_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that the manifest names and nobody finds is an error, although a start succeeds."""
    async with running_lite(tmp_path, CALM) as (_, client):
        await fill(client)
    segment = min(tmp_path.rglob("data_*.parquet"))  # noqa: ASYNC240 - nothing else runs
    segment.unlink()
    with caplog.at_level(logging.ERROR):
        async with running_lite(tmp_path, CALM):
            pass
    assert f"data/{segment.name} of partition _default is missing or torn" in caplog.text


async def test_doubled_rows_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows with one sequence number in two segments are counted."""
    import json

    async with running_lite(tmp_path, CALM) as (_, client):
        await client.create("rows")
        await client.insert("rows", range(25))
    folder = tmp_path / "collections" / "rows"
    (segment,) = folder.rglob("data_*.parquet")
    twin = segment.with_name("data_000001_000099.parquet")
    shutil.copy(segment, twin)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["partitions"]["_default"]["data_files"].append(f"data/{twin.name}")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with caplog.at_level(logging.ERROR):
        async with running_lite(tmp_path, CALM):
            pass
    assert "25 rows are in segments twice" in caplog.text


async def test_audit_follows_a_collection_through_its_life(tmp_path: Path) -> None:
    """Renamed, emptied, merged, partitioned and dropped collections raise no alarm."""
    from pymilvus.grpc_gen import milvus_pb2

    settings = CALM.model_copy(update={"flush_max_rows": 30, "flush_idle_s": 0.1})
    async with running_lite(tmp_path, settings) as (lite, client):
        for name in ("renamed", "emptied", "dropped"):
            await client.create(name)
            for first in range(0, 200, 20):
                await client.insert(name, range(first, first + 20))
        await client.change(
            "RenameCollection",
            milvus_pb2.RenameCollectionRequest(oldName="renamed", newName="other"),
        )
        await client.call(
            "TruncateCollection",
            milvus_pb2.TruncateCollectionResponse,
            milvus_pb2.TruncateCollectionRequest(collection_name="emptied"),
        )
        await client.insert("emptied", [1])
        await client.insert("other", [900])
        await client.change(
            "DropCollection", milvus_pb2.DropCollectionRequest(collection_name="dropped")
        )
        await client.change(
            "CreatePartition",
            milvus_pb2.CreatePartitionRequest(collection_name="other", partition_name="p"),
        )
        kill(lite)
    assert differences(tmp_path) == {}
