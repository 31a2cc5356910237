"""What reads of a collection notice of its flushes: nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema

from lite_rows import DIMENSION, vector_of
from milvane.instances.lite.engine import Engine
from milvane.instances.lite.flusher import Flusher
from milvane.instances.lite.flushing import FlushPolicy
from milvane.instances.lite.gates import Gate
from milvane.instances.lite.journal import CollectionKey
from milvane.instances.lite.locks import Hold

KEY = CollectionKey("default", "rows")
CALM = FlushPolicy(max_rows=1_000_000, max_bytes=1 << 40, idle_s=600)


class Holding(ThreadPoolExecutor):
    """Threads that begin some piece of work only when they are let go on."""

    def __init__(self, held: str) -> None:
        super().__init__(2)
        self._held = held
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Take work; what is called as it is held waits."""
        if work.__name__ != self._held:
            return super().submit(work, *args, **named)

        def wait_and_work() -> Any:
            self.reached.set()
            self.go_on.wait()
            return work(*args, **named)

        return super().submit(wait_and_work)


@dataclass
class Bench:
    """A collection with rows in memory, and what moves them to disk."""

    engine: Engine
    flusher: Flusher
    gate: Gate
    reads: list[int] = field(default_factory=list)

    async def read(self) -> list[int]:
        """Search as the guard does."""
        with anyio.fail_after(10):
            passage = await self.gate.enter(Hold.SHARED)
            try:
                collection = self.engine.find(KEY)
                assert collection is not None
                hits = await asyncio.to_thread(
                    collection.search, [vector_of(3).tolist()], 100, "COSINE"
                )
            finally:
                passage.close()
        return sorted(hit["id"] for hit in hits[0])

    def files(self) -> int:
        """Count the segments."""
        collection = self.engine.find(KEY)
        assert collection is not None
        return len(collection._segments_snapshot())


@contextmanager
def an_engine(folder: Path) -> Iterator[Engine]:
    """Open an engine with a collection of 20 rows in memory."""
    engine = Engine(folder, fsync=False, index_min_rows=1_000)
    fields = [
        FieldSchema(name="id", dtype=DataType.INT64, is_primary=True),
        FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=DIMENSION),
    ]
    engine.db.create_collection("rows", CollectionSchema(fields=fields))
    engine.open_all()
    collection = engine.find(KEY)
    assert collection is not None
    collection.insert([{"id": row, "vector": vector_of(row).tolist()} for row in range(20)])
    yield engine
    engine.close()


@asynccontextmanager
async def a_bench(folder: Path, threads: ThreadPoolExecutor) -> AsyncIterator[Bench]:
    """Run a flusher."""
    with an_engine(folder) as engine, threads:
        gate = Gate("the test", 16)
        flusher = Flusher(engine, CALM, lambda _: gate, Gate("the catalogue", 16), threads)
        running = asyncio.create_task(flusher.run())
        yield Bench(engine, flusher, gate)
        running.cancel()


@pytest.mark.parametrize("part", ["prepare", "commit", "clean_up"])
async def test_reads_run_to_their_end_while_a_flush_is_held(tmp_path: Path, part: str) -> None:
    """Whatever of a flush takes long, a read beside it ends, and finds all rows."""
    threads = Holding(part)
    async with a_bench(tmp_path, threads) as bench:
        flush = asyncio.create_task(bench.flusher.flush(KEY))
        assert await asyncio.to_thread(threads.reached.wait, 10)
        try:
            assert await bench.read() == list(range(20))
            assert not flush.done()
        finally:
            threads.go_on.set()
        await flush
        assert await bench.read() == list(range(20))
        assert bench.files() == 1


async def test_read_that_takes_long_keeps_neither_flushes_nor_reads_waiting(
    tmp_path: Path,
) -> None:
    """A flush ends beside a read that goes on, and others read meanwhile."""
    async with a_bench(tmp_path, ThreadPoolExecutor(2)) as bench:
        long_read = await bench.gate.enter(Hold.SHARED)
        with anyio.fail_after(10):
            await bench.flusher.flush(KEY)
        assert bench.files() == 1
        assert await bench.read() == list(range(20))
        long_read.close()
        assert bench.gate.is_idle
