"""Merging and indexing beside reads leave each row once, with a graph, in few segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from milvus_lite.engine.collection import Collection
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema

from milvane.instances.lite import checkpoint, mapping, search, upkeep
from milvane.instances.lite.building import holds_rounded
from milvane.instances.lite.memory import QuickMemTable

DIMENSION = 1_024
FLUSHED_ROWS = 100
INDEX_MIN_ROWS = 200
VECTORS = np.random.default_rng(5).standard_normal((4_000, DIMENSION)).astype(np.float32)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    """Make a collection whose reads and upkeep are ours."""
    schema = CollectionSchema(
        fields=[
            FieldSchema(name="id", dtype=DataType.INT64, is_primary=True),
            FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=DIMENSION),
        ]
    )
    upkeep.prepare()
    opened = Collection("rows", str(tmp_path), schema)
    opened._memtable = QuickMemTable.from_rows_of(opened._memtable)
    upkeep.take_over(opened, INDEX_MIN_ROWS)
    search.take_over(opened)
    opened.create_index("vector", {"index_type": "AUTOINDEX", "metric_type": "COSINE"})
    opened.load()
    yield opened
    opened.close()


def insert(collection: Collection, first: int, end: int) -> None:
    """Insert rows, some at a time, each time followed by a move to disk."""
    for start in range(first, end, FLUSHED_ROWS):
        ids = range(start, min(start + FLUSHED_ROWS, end))
        collection.insert([{"id": i, "vector": VECTORS[i].tolist()} for i in ids])
        checkpoint.move_to_disk(collection)
    collection._wait_for_bg()


def nearest(collection: Collection, ids: list[int]) -> list[int]:
    """Search with the vectors of rows; return the nearest of each."""
    hits = collection.search(VECTORS[ids].tolist(), 1, metric_type="COSINE", anns_field="vector")
    return [each[0]["id"] for each in hits]


def rows_with_graphs(collection: Collection) -> list[int]:
    """Say how many rows the graphs know, segment by segment."""
    indexes = [each.indexes["vector"] for each in collection._segments_snapshot()]
    assert all(holds_rounded(each) for each in indexes if each.num_vectors >= INDEX_MIN_ROWS)
    return sorted(each.num_vectors for each in indexes if hasattr(each, "_index"))


def test_rows_that_come_in_join_the_graph_that_there_is(collection: Collection) -> None:
    """All rows but a few are in graphs, and each row is found by its own vector, exactly."""
    insert(collection, 0, 3_000)

    segments = collection._segments_snapshot()
    assert sum(each.num_rows for each in segments) == 3_000
    assert sum(rows_with_graphs(collection)) > 3_000 - INDEX_MIN_ROWS
    assert len(segments) <= 8
    asked = list(range(0, 3_000, 50))
    assert nearest(collection, asked) == asked


def test_rows_of_the_base_that_were_deleted_do_not_come_back(collection: Collection) -> None:
    """A merge drops what was deleted or replaced, and its graph knows the rows that are left."""
    insert(collection, 0, 1_000)
    collection.delete(list(range(0, 1_000, 2)))
    collection.insert([{"id": 1, "vector": VECTORS[3_999].tolist()}])
    insert(collection, 1_000, 2_000)

    assert collection.num_entities == 1_500
    assert sum(each.num_rows for each in collection._segments_snapshot()) < 2_001
    asked = list(range(3, 1_000, 2)) + list(range(1_000, 2_000))
    assert nearest(collection, asked) == asked
    assert nearest(collection, [3_999]) == [1]


def test_vectors_of_large_segments_are_mapped_and_go_with_them(
    collection: Collection, tmp_path: Path
) -> None:
    """There is a file of vectors for each large segment, and none for what was merged away."""
    insert(collection, 0, 3_000)

    large = {
        Path(each.file_path).stem
        for each in collection._segments_snapshot()
        if each.num_rows * DIMENSION * 4 >= mapping._MAPPED_FROM_BYTES
    }
    files = [each.name for each in tmp_path.glob("partitions/*/vectors/*")]
    assert large
    assert {each.partition(".")[0] for each in files} == large
    assert len(files) == len(large)


def test_released_collection_is_given_no_graph(collection: Collection) -> None:
    """While nobody can search, small segments are merged, and graphs wait for the next load."""
    collection.release()
    insert(collection, 0, 1_000)
    assert not any(each.indexes for each in collection._segments_snapshot())
    collection.load()
    collection._schedule_bg_maintenance()
    collection._wait_for_bg()

    assert sum(rows_with_graphs(collection)) > 1_000 - INDEX_MIN_ROWS
    assert nearest(collection, [0, 500, 999]) == [0, 500, 999]
