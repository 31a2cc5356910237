"""Vectors on the disk survive the process; a disk that fails harms nobody."""

from __future__ import annotations

import asyncio
import logging
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from milvane.serving.caching.disk import PAUSE_S, DiskVectors
from milvane.serving.caching.keys import make_keys
from milvane.serving.caching.sqlite_file import VectorFile

MIB = 1024 * 1024
PATIENCE_S = 10.0


class Clock:
    """A time that the test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        """Say the time."""
        return self.now_s


def keys(*names: object) -> list[bytes]:
    """Make keys that can be told apart."""
    return make_keys("", "", [str(name).encode() for name in names])


def vectors(*names: object, size_bytes: int = 1536) -> dict[bytes, bytes]:
    """Make a vector for each name."""
    contents = (str(name).encode() for name in names)
    return {
        key: content.ljust(size_bytes, b"-")
        for key, content in zip(keys(*names), contents, strict=True)
    }


async def settle(disk: DiskVectors) -> None:
    """Wait until the disk has nothing under way."""
    if disk._timer is not None:
        disk._timer.cancel()
        disk._write_soon()
    await asyncio.wait_for(disk.settled(), PATIENCE_S)


async def found(disk: DiskVectors, *names: object) -> dict[bytes, bytes]:
    """Look for vectors as the cache does."""
    await settle(disk)
    return await disk.find(disk.candidates(keys(*names)))


async def test_vectors_survive_a_restart(tmp_path: Path) -> None:
    """What one process kept, the next one finds; what was never kept is not looked for."""
    path = tmp_path / "cache" / "vectors.db"
    async with DiskVectors(path, MIB) as disk:
        disk.put(vectors(1, 2))
        assert await disk.find(keys(1)) == vectors(1), "before it is written"
        assert await found(disk, 1, 2, 3) == vectors(1, 2)
    async with DiskVectors(path, MIB) as disk:
        assert await found(disk, 1, 2, 3) == vectors(1, 2)
        assert disk.candidates(keys(3)) == []
        assert disk.counts.failures == 0


async def test_file_keeps_its_bound_and_the_newest(tmp_path: Path) -> None:
    """Old vectors make room, but for those that were used since."""
    path = tmp_path / "vectors.db"
    async with DiskVectors(path, MIB) as disk:
        for start in range(0, 6400, 50):
            disk.put(vectors(*range(start, start + 50)))
            assert await found(disk, 7) == vectors(7)
        assert await found(disk, 8, 6399) == vectors(6399)
    assert path.stat().st_size < 2 * MIB


async def test_full_disk_costs_only_the_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing fails; it is said once; and the disk is used again when there is room."""
    clock = Clock()
    async with DiskVectors(tmp_path / "vectors.db", MIB, clock=clock) as disk:
        disk.put(vectors(1))
        await settle(disk)
        with full_disk():
            for attempt in range(3):
                disk.put(vectors(*range(10, 300)))
                assert await found(disk, 1, attempt + 10) in ({}, vectors(1))
                clock.now_s += PAUSE_S + 1
        disk.put(vectors(2))
        assert await found(disk, 1, 2) == vectors(1, 2)
        assert disk.counts.failures == 3
        assert disk.counts.dropped == 3 * 290
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "vectors are computed again" in warnings[0].message


async def test_failed_disk_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """No request waits for a disk that has just failed."""
    clock = Clock()
    async with DiskVectors(tmp_path / "vectors.db", MIB, clock=clock) as disk:
        disk.put(vectors(1))
        await settle(disk)
        with full_disk():
            disk.put(vectors(*range(10, 300)))
            await settle(disk)
        disk.put(vectors(2))
        assert (await found(disk, 1, 2), disk.counts.dropped) == ({}, 291)


async def test_folder_that_cannot_be_used_costs_only_the_cache(tmp_path: Path) -> None:
    """The server starts without its cache, and uses it once the folder is put right."""
    clock = Clock()
    (tmp_path / "cache").write_text("a file where the folder should be")
    async with DiskVectors(tmp_path / "cache" / "vectors.db", MIB, clock=clock) as disk:
        disk.put(vectors(1))
        assert await found(disk, 1) == {}
        (tmp_path / "cache").unlink()
        clock.now_s += PAUSE_S + 1
        disk.put(vectors(2))
        assert await found(disk, 2) == vectors(2)


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\0" + b"\xff" * 9000])
async def test_file_that_is_none_is_replaced(tmp_path: Path, content: bytes) -> None:
    """A file that cannot be read makes way for an empty one."""
    path = tmp_path / "vectors.db"
    path.write_bytes(content)
    async with DiskVectors(path, MIB) as disk:
        await settle(disk)
        disk.put(vectors(1))
        assert await found(disk, 1) == vectors(1)


async def test_file_of_another_version_is_replaced(tmp_path: Path) -> None:
    """Vectors that another version wrote are not guessed at."""
    path = tmp_path / "vectors.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    async with DiskVectors(path, MIB) as disk:
        await settle(disk)
        disk.put(vectors(1))
        assert await found(disk, 1) == vectors(1)


async def test_vector_that_is_not_what_was_written_is_not_given(tmp_path: Path) -> None:
    """A bit that turned over on the disk is noticed, and the file is begun anew."""
    path = tmp_path / "vectors.db"
    file = VectorFile(path, MIB)
    file.write(vectors(1))
    file.close()
    content = path.read_bytes()
    assert content.count(b"1" + b"-" * 100) == 1
    path.write_bytes(content.replace(b"1" + b"-" * 100, b"1" + b"-" * 99 + b"."))
    async with DiskVectors(path, MIB) as disk:
        assert await found(disk, 1) == {}
        await settle(disk)
        disk.put(vectors(1))
        assert await found(disk, 1) == vectors(1)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond a few pages."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
