"""Histories in which Milvus Lite by itself loses, doubles or hides rows, told here: none does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient

from lite_rows import DIMENSION, SMALL, LiteClient, Refused, running_lite
from milvane.domain.errors import Conflict
from milvane.instances.lite.supervisor import LiteInstance
from milvane.instances.settings import LiteSettings

ROUNDS = 1
"""How often each race is run: each round takes seconds. More find more, when one is looked for."""
CALM = LiteSettings(flush_idle_s=600, flush_max_rows=1_000_000)
"""Settings with which nothing is flushed unless a test asks for it."""


@asynccontextmanager
async def killed_after(
    data_dir: Path, settings: LiteSettings = SMALL
) -> AsyncIterator[tuple[LiteInstance, LiteClient]]:
    """Run an instance whose process is killed at the end of the block."""
    async with running_lite(data_dir, settings) as (lite, client):
        yield lite, client
        assert lite.pid is not None
        os.kill(lite.pid, signal.SIGKILL)


@contextmanager
def milvus_client(lite: LiteInstance) -> Iterator[MilvusClient]:
    """Call the process with Milvus's own client, without the gateway."""
    assert lite.status.target is not None
    client = MilvusClient(lite.status.target)
    try:
        yield client
    finally:
        client.close()


async def insert_batches(
    client: LiteClient, writer: int, batches: int, acknowledged: set[int], rows: int = 25
) -> None:
    """Insert batches of rows that no other writer has."""
    for batch in range(batches):
        first = writer * 100_000 + batch * rows
        acknowledged.update(await client.insert("rows", range(first, first + rows)))


async def keep_on(done: asyncio.Event, work: Callable[[], Awaitable[Any]]) -> int:
    """Do something again and again until others are done; returns how often."""
    times = 0
    while not done.is_set():
        await work()
        times += 1
    return times


async def test_eight_writers_and_a_kill(tmp_path: Path) -> None:
    """What parallel inserts of one collection were told is there after a SIGKILL, once."""
    for number in range(ROUNDS):
        data_dir, acknowledged = tmp_path / str(number), set[int]()
        async with killed_after(data_dir, CALM) as (_, client):
            await client.create("rows", index="FLAT")
            await asyncio.gather(
                *(insert_batches(client, writer, 10, acknowledged) for writer in range(8))
            )
            assert await client.count("rows") == len(acknowledged) == 8 * 10 * 25
        async with running_lite(data_dir, CALM) as (_, client):
            assert await client.ids("rows") == sorted(acknowledged)


async def test_readers_beside_serial_inserts_and_flushes(tmp_path: Path) -> None:
    """A count never falls, and the row that was acknowledged last is found at all times."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows", index="FLAT")
        last, done = 0, asyncio.Event()

        async def look() -> None:
            least = last
            assert await client.count("rows") >= least
            if least:
                assert await client.ids("rows", f"id in [{least - 1}]") == [least - 1]

        async def write() -> None:
            nonlocal last
            for _ in range(10 * ROUNDS):
                await client.insert("rows", range(last, last + 40))
                last += 40
                if last % 160 == 0:
                    await client.flush("rows")
            done.set()

        looks = await asyncio.gather(write(), keep_on(done, look), keep_on(done, look))
        assert min(looks[1:]) > 0
        assert await client.ids("rows") == list(range(last))


async def test_flushes_of_somebody_else_beside_inserts(tmp_path: Path) -> None:
    """One inserts, another flushes, two search: all that was acknowledged stays."""
    acknowledged, done = set[int](), asyncio.Event()
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows", index="FLAT")

        async def write() -> None:
            await insert_batches(client, 0, 40 * ROUNDS, acknowledged, rows=20)
            done.set()

        await asyncio.gather(
            write(),
            keep_on(done, lambda: client.flush("rows")),
            *(keep_on(done, lambda: client.search("rows", 3)) for _ in range(2)),
        )
        await client.flush("rows")
        assert await client.ids("rows") == sorted(acknowledged)
    async with running_lite(tmp_path) as (_, client):
        assert await client.count("rows") == len(acknowledged)


async def test_indexes_that_cannot_be_built(tmp_path: Path) -> None:
    """They are refused when they are asked for, and the collection goes on with another."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows", index=None)
        for index in ("DISKANN", "IVF_PQ", "NO_SUCH_INDEX"):
            with pytest.raises(Refused, match=f"invalid index type: {index}") as refusal:
                await client.create_index("rows", index)
            assert refusal.value.code == 1100
        await client.create_index("rows", "FLAT")
        await client.load("rows")
        await client.insert("rows", range(20))
    async with running_lite(tmp_path) as (_, client):
        assert await client.search("rows", 3, 1) == [3]


async def test_search_iterators(tmp_path: Path) -> None:
    """An iterator over a search gives every row once, whatever metric and index there are."""

    def walk(client: MilvusClient, metric: str, index: str) -> None:
        name = f"x_{metric}_{index}"
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
        parameters = client.prepare_index_params()
        parameters.add_index("vector", index_type=index, metric_type=metric)
        client.create_collection(name, schema=schema, index_params=parameters)
        vectors = np.random.default_rng(0).normal(size=(301, DIMENSION)).tolist()
        rows = [{"id": i, "vector": vector} for i, vector in enumerate(vectors[:300])]
        client.insert(name, rows[:200])
        client.flush(name)
        client.insert(name, rows[200:])
        for batch_size, limit in ((100, 300), (25, 120)):
            pages = client.search_iterator(
                name, data=[vectors[300]], batch_size=batch_size, limit=limit
            )
            found: list[int] = []
            while page := pages.next():
                found += [hit["id"] for hit in page]
            pages.close()
            assert len(found) == len(set(found)) == limit

    settings = SMALL.model_copy(update={"index_min_rows": 100})
    async with running_lite(tmp_path, settings) as (lite, _):
        with milvus_client(lite) as client:
            for metric in ("COSINE", "L2", "IP"):
                for index in ("FLAT", "AUTOINDEX"):
                    await asyncio.to_thread(walk, client, metric, index)


async def test_scores_of_bm25(tmp_path: Path) -> None:
    """Scores are positive, the best first, and equal texts score alike wherever they are."""

    def session(client: MilvusClient) -> None:
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("text", DataType.VARCHAR, max_length=200, enable_analyzer=True)
        schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))
        index = client.prepare_index_params()
        index.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
        client.create_collection("x", schema=schema, index_params=index)

        def scores() -> dict[int, float]:
            hits = client.search("x", data=["vector search"], anns_field="sparse", limit=5)[0]
            assert [hit["distance"] for hit in hits] == sorted(
                (hit["distance"] for hit in hits), reverse=True
            )
            return {hit["id"]: hit["distance"] for hit in hits}

        texts = ["vector database search", "vector vector search engine", "banana"]
        client.insert("x", [{"id": i, "text": text} for i, text in enumerate(texts)])
        in_memory = scores()
        assert set(in_memory) == {0, 1}
        assert min(in_memory.values()) > 0
        client.flush("x")
        assert scores() == pytest.approx(in_memory)
        more = ["vector database search", *(f"filler text {number}" for number in range(50))]
        client.insert("x", [{"id": 10 + i, "text": text} for i, text in enumerate(more)])
        client.flush("x")
        spread = scores()
        assert spread[0] == pytest.approx(spread[10])

    async with running_lite(tmp_path, CALM) as (lite, _):
        with milvus_client(lite) as client:
            await asyncio.to_thread(session, client)


async def test_first_calls_after_a_start_all_at_once(tmp_path: Path) -> None:
    """Eight first inserts after each start are all kept, and all seen, then and later."""
    acknowledged = set(range(1_000))
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows", index=None)
        await client.insert("rows", range(1_000))
    for number in range(ROUNDS):
        async with running_lite(tmp_path) as (_, client):
            first = 8 * number + 1
            await asyncio.gather(
                *(insert_batches(client, first + i, 1, acknowledged, rows=10) for i in range(8))
            )
            assert await client.count("rows") == len(acknowledged)
    async with running_lite(tmp_path) as (_, client):
        assert await client.ids("rows") == sorted(acknowledged)


async def test_second_process_and_rows_in_memory_at_a_stop(tmp_path: Path) -> None:
    """A directory is refused to a second, free after a kill, and complete after a stop."""
    async with killed_after(tmp_path, CALM) as (_, client):
        await client.create("rows", index=None)
        await client.insert("rows", range(50))
        with pytest.raises(Conflict, match="another Milvane uses"):
            async with LiteInstance(CALM, tmp_path):
                pytest.fail("a second process has started")
    async with running_lite(tmp_path, CALM) as (_, client):
        await client.insert("rows", range(50, 100))
    async with running_lite(tmp_path, CALM) as (_, client):
        assert await client.ids("rows") == list(range(100))


@pytest.mark.parametrize("later_rows", [0, 20])
async def test_death_between_the_commit_of_a_flush_and_the_end_of_its_log(
    tmp_path: Path, later_rows: int
) -> None:
    """Rows that are in a segment and in a log are there once, also after more flushes."""
    logs = tmp_path / "collections" / "rows" / "wal"
    async with killed_after(tmp_path, CALM) as (_, client):
        await client.create("rows", index=None)
        await client.insert("rows", range(20))
        saved = {path.name: path.read_bytes() for path in logs.iterdir()}
        await client.flush("rows")
    for name, content in saved.items():
        (logs / name).write_bytes(content)
    expected = [*range(20), *range(100, 100 + later_rows)]
    async with running_lite(tmp_path, CALM) as (_, client):
        if later_rows:
            await client.insert("rows", range(100, 100 + later_rows))
        for _ in range(2):
            assert await client.ids("rows") == expected
            assert await client.count("rows") == len(expected)
            assert sorted(await client.search("rows", 3, 100)) == expected
            await client.flush("rows")
    async with running_lite(tmp_path, CALM) as (_, client):
        assert sorted(await client.search("rows", 3, 100)) == expected


async def test_many_queries_over_rows_without_an_index(tmp_path: Path) -> None:
    """Memory does not grow with the product of queries, rows and dimensions."""
    dimension, rows, queries = 512, 4_000, 40  # the product takes 328 MB

    def grown_bytes(client: MilvusClient, process: psutil.Process) -> int:
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        parameters = client.prepare_index_params()
        parameters.add_index("vector", index_type="FLAT", metric_type="L2")
        client.create_collection("x", schema=schema, index_params=parameters)
        vectors = np.random.default_rng(0).random((rows, dimension), dtype=np.float32)
        for first in range(0, rows, 1_000):
            batch = vectors[first : first + 1_000]
            client.insert("x", [{"id": first + i, "vector": v} for i, v in enumerate(batch)])
        client.search("x", data=list(vectors[:1]), limit=5)
        before = peak_bytes(process)
        for _ in range(ROUNDS):
            found = client.search("x", data=list(vectors[:queries]), limit=5)
            assert [hits[0]["id"] for hits in found] == list(range(queries))
        return peak_bytes(process) - before

    async with running_lite(tmp_path, CALM) as (lite, _):
        assert lite.pid is not None
        with milvus_client(lite) as client:
            grown = await asyncio.to_thread(grown_bytes, client, psutil.Process(lite.pid))
    assert grown < 80_000_000


def peak_bytes(process: psutil.Process) -> int:
    """Say how much memory a process has had at most."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)


async def test_search_right_after_a_restart(tmp_path: Path) -> None:
    """A collection that was loaded is searched after each restart without being loaded again."""
    async with running_lite(tmp_path) as (_, client):
        await client.create("rows", index="FLAT")
        await client.insert("rows", range(10))
    for _ in range(ROUNDS):
        async with killed_after(tmp_path) as (_, client):
            assert await client.search("rows", 3, 1) == [3]
            assert await client.count("rows") == 10
