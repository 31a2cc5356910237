"""A read ends, with all rows that were acknowledged, whatever of a flush or a merge takes long."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
from milvus_lite.engine.collection import Collection
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema

from lite_rows import DIMENSION, vector_of
from milvane.instances.lite import building, checkpoint, search, upkeep
from milvane.instances.lite.memory import QuickMemTable

SOON_S = 20
INDEX_MIN_ROWS = 40


class Hold:
    """Keeps the first system call of a kind waiting, as a slow disk does."""

    _all: ClassVar[list[Hold]] = []
    _is_hooked = False

    def __init__(self, event: str, part: str) -> None:
        self._event, self._part = event, re.compile(part)
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __enter__(self) -> Hold:
        if not Hold._is_hooked:
            sys.addaudithook(Hold._hear)  # stays for good; silent while nothing is held
            Hold._is_hooked = True
        Hold._all.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        Hold._all.remove(self)
        self.go_on.set()

    @staticmethod
    def _hear(event: str, arguments: tuple[Any, ...]) -> None:
        for hold in Hold._all:
            if event == hold._event and any(hold._part.search(str(each)) for each in arguments):
                hold._wait()

    def _wait(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self.go_on.wait(SOON_S)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    """Make an indexed collection whose reads and upkeep are ours, with rows in both partitions."""
    schema = CollectionSchema(
        fields=[
            FieldSchema(name="id", dtype=DataType.INT64, is_primary=True),
            FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=DIMENSION),
        ]
    )
    upkeep.prepare()
    opened = Collection("rows", str(tmp_path / "rows"), schema)
    opened._memtable = QuickMemTable.from_rows_of(opened._memtable)
    upkeep.take_over(opened, INDEX_MIN_ROWS)
    search.take_over(opened)
    opened.create_index("vector", {"index_type": "HNSW", "metric_type": "COSINE"})
    opened.load()
    yield opened
    opened.close()


def insert(collection: Collection, first: int, end: int) -> None:
    """Insert rows; they are acknowledged when this returns."""
    collection.insert([{"id": i, "vector": vector_of(i).tolist()} for i in range(first, end)])


def read(collection: Collection) -> list[set[int]]:
    """Say which rows are found, in each way there is, in a view of each kind."""
    everything = list(range(200))
    found = [
        {hit["id"] for hit in collection.search([vector_of(3).tolist()], 200, "COSINE")[0]},
        {row["id"] for row in collection.query("id >= 0", ["id"])},
        {row["id"] for row in collection.query("id >= 0", ["id"], ["_default"])},
        {row["id"] for row in collection.get(everything)},
    ]
    assert collection.num_entities == len(found[0])
    return found


def fill_small_segments(collection: Collection) -> set[int]:
    """Write rows to segments that are to be merged; return those that are there."""
    for first in range(0, 50, 10):
        insert(collection, first, first + 10)
        collection.delete([first - 9])
        prepared = checkpoint.prepare(collection)
        assert prepared is not None
        checkpoint.commit(collection, prepared)
        prepared.wal.close_and_delete()
    return set(range(50)) - {1, 11, 21, 31}


def assert_reads_end(collection: Collection, rows: set[int]) -> None:
    """Read in another thread, as others do, and find all rows."""
    with ThreadPoolExecutor(1) as reader:
        assert reader.submit(read, collection).result(SOON_S) == [rows] * 4


@pytest.mark.parametrize("has_view", [True, False])
@pytest.mark.parametrize(
    ("event", "part"),
    [
        ("open", r"/data/.*\.parquet$"),
        ("open", r"manifest\.json\.tmp$"),
        ("os.rename", r"manifest\.json$"),
        ("open", "/rows$"),
        ("os.remove", "/wal/"),
    ],
    ids=["rows", "manifest", "commit", "folder", "log"],
)
def test_reads_end_while_the_disk_holds_a_flush(
    collection: Collection, event: str, part: str, has_view: bool
) -> None:
    """A read needs neither the files nor the manifest of a flush, whether it has a view or not."""
    insert(collection, 0, 10)
    checkpoint.move_to_disk(collection)
    collection.delete([1])
    insert(collection, 10, 30)
    rows = set(range(30)) - {1}
    if has_view:
        assert_reads_end(collection, rows)
    with Hold(event, part) as hold, ThreadPoolExecutor(1) as flusher:
        flush = flusher.submit(checkpoint.move_to_disk, collection)
        try:
            assert hold.reached.wait(SOON_S)
            assert_reads_end(collection, rows)
        finally:
            hold.go_on.set()
        assert flush.result(SOON_S) == 20
    assert_reads_end(collection, rows)


@pytest.mark.parametrize(
    ("event", "part"),
    [
        ("open", r"/data/.*\.parquet$"),
        ("os.mkdir", "/indexes$"),
        ("os.rename", r"\.idx$"),
        ("open", r"manifest\.json\.tmp$"),
        ("os.rename", r"manifest\.json$"),
        ("open", "/rows$"),
        ("os.remove", r"/data/.*\.parquet$"),
    ],
    ids=["rows", "graph", "index", "manifest", "commit", "folder", "obsolete"],
)
def test_reads_find_new_rows_while_a_merge_is_held(
    collection: Collection, event: str, part: str
) -> None:
    """Rows that come in beside a merge are found by the next read, which does not wait for it."""
    rows = fill_small_segments(collection) - {2} | set(range(50, 60))
    with Hold(event, part) as hold:
        collection._schedule_bg_maintenance()
        try:
            assert hold.reached.wait(SOON_S)
            insert(collection, 50, 60)
            collection.delete([2])
            assert_reads_end(collection, rows)
        finally:
            hold.go_on.set()
        collection._wait_for_bg()
    assert len(collection._segments_snapshot()) == 1
    assert_reads_end(collection, rows)


def test_reads_find_new_rows_while_a_graph_is_built(collection: Collection) -> None:
    """Rows that come in before a graph is complete are found by the next read."""
    rows = fill_small_segments(collection) | {50}
    with building._ONE_BUILD:
        collection._schedule_bg_maintenance()
        insert(collection, 50, 51)
        assert_reads_end(collection, rows)
        assert len(collection._segments_snapshot()) == 5
    collection._wait_for_bg()
    assert len(collection._segments_snapshot()) == 1
    assert_reads_end(collection, rows)


def test_reads_end_while_a_write_is_held(collection: Collection) -> None:
    """A read waits for no write under way, and finds what was acknowledged before it."""
    insert(collection, 0, 10)
    assert_reads_end(collection, set(range(10)))
    insert(collection, 10, 20)
    with collection._memtable._lock:  # a writer has it while it takes rows in
        assert_reads_end(collection, set(range(20)))


def test_key_is_found_while_its_row_moves_to_disk(collection: Collection) -> None:
    """A row that moves to disk in the middle of a look-up by key is found by it."""

    class MovingKeys(list[int]):
        """Keys whose rows move to disk as soon as somebody looks at them."""

        def __iter__(self) -> Iterator[int]:
            checkpoint.move_to_disk(collection)
            return super().__iter__()

    insert(collection, 0, 10)
    assert [row["id"] for row in collection.get(MovingKeys([7, 99, 3]))] == [7, 3]
    assert len(collection._segments_snapshot()) == 1
