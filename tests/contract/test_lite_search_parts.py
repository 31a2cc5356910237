"""What stands in for parts of Milvus Lite's search answers as those parts do."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_lite.index.brute_force import BruteForceIndex
from milvus_lite.index.faiss_hnsw import FaissHnswIndex
from milvus_lite.schema.arrow_builder import build_wal_data_schema, build_wal_delta_schema
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema
from milvus_lite.storage.memtable import MemTable

from milvane.instances.lite.graphs import search_index
from milvane.instances.lite.memory import QuickMemTable
from milvane.instances.lite.scanning import ScanIndex
from milvane.instances.lite.search import PROVED_ON, is_proved

SCHEMA = CollectionSchema(
    fields=[
        FieldSchema(name="id", dtype=DataType.INT64, is_primary=True),
        FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=3),
        FieldSchema(name="word", dtype=DataType.VARCHAR, max_length=10, nullable=True),
    ]
)

writes = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete"]),
        st.sampled_from(["_default", "other"]),
        st.lists(st.integers(0, 12), min_size=1, max_size=5),
    ),
    max_size=12,
)


def apply(
    table: MemTable, steps: list[tuple[str, str, list[int]]], *, is_read: bool = False
) -> MemTable:
    """Write to a table in memory, as a collection does; it may be read between the writes."""
    sequence = 0
    for action, partition, keys in steps:
        count = len(keys)
        numbers = list(range(sequence + 1, sequence + count + 1))
        if action == "delete":
            numbers = [sequence + 1] * count
        sequence = numbers[-1]
        columns: dict[str, Any] = {
            "id": keys,
            "_seq": numbers,
            "_partition": [partition] * count,
            "vector": [[float(key), float(numbers[0]), 1.0] for key in keys],
            "word": [None if key % 2 else f"word {key}" for key in keys],
        }
        if action == "insert":
            table.apply_insert(pa.RecordBatch.from_pydict(columns, build_wal_data_schema(SCHEMA)))
        else:
            layout = build_wal_delta_schema(SCHEMA)
            kept = {name: columns[name] for name in layout.names}
            table.apply_delete(pa.RecordBatch.from_pydict(kept, layout))
        if is_read:
            table.to_search_snapshot(None)
    return table


@settings(deadline=None)
@given(
    writes,
    st.sampled_from([None, ["_default"], ["other"], ["_default", "other"], ["missing"]]),
    st.sampled_from(["vector", None]),
    st.booleans(),
)
def test_quick_table_hands_out_what_milvus_lite_would(
    steps: list[tuple[str, str, list[int]]],
    partitions: list[str] | None,
    field: str | None,
    include_table: bool,
) -> None:
    """Keys, numbers, vectors, places and filter table are the same, in the same order."""
    original = apply(MemTable(SCHEMA), steps)
    for quick in (
        apply(QuickMemTable(SCHEMA), steps),
        apply(QuickMemTable(SCHEMA), steps, is_read=True),
        QuickMemTable.from_rows_of(apply(MemTable(SCHEMA), steps)),
    ):
        expected = original.to_search_snapshot(field, partitions, include_table)
        found = quick.to_search_snapshot(field, partitions, include_table)
        assert found[0] == expected[0]
        assert found[1].dtype == expected[1].dtype
        assert found[1].tolist() == expected[1].tolist()
        assert found[2].dtype == expected[2].dtype
        assert np.array_equal(found[2], expected[2])
        assert found[3] == expected[3]
        assert found[4] == expected[4]
        assert quick.estimated_memory_bytes == original.estimated_memory_bytes
        assert quick.size() == original.size()


@pytest.mark.parametrize("metric", ["COSINE", "L2", "IP"])
@pytest.mark.parametrize("rows", [1, 5, 400])
def test_scan_finds_what_milvus_lites_brute_force_finds(metric: str, rows: int) -> None:
    """Rows and distances are those of the exact search, whatever is masked or asked for."""
    chance = np.random.default_rng(rows)
    vectors = chance.normal(size=(rows, 24)).astype(np.float32)
    vectors[0] = 0
    queries = np.concatenate([chance.normal(size=(4, 24)), vectors[-1:]]).astype(np.float32)
    for mask in (None, chance.random(rows) < 0.5, np.zeros(rows, dtype=bool)):
        for top_k in (1, 3, rows + 4):
            expected = BruteForceIndex.build(vectors, metric).search(queries, top_k, mask)
            found = ScanIndex(vectors, metric).search(queries, top_k, mask)
            assert np.allclose(found[1], expected[1], atol=1e-5)
            assert np.array_equal(found[0], expected[0])


def test_scan_tells_near_neighbours_apart() -> None:
    """Rows that differ only in the last bits are ordered by their exact distance."""
    vectors = np.full((50, 8), 1000.0, dtype=np.float32)
    vectors[:, 0] += np.arange(50, dtype=np.float32)[::-1] / 256
    numbers, distances = ScanIndex(vectors, "L2").search(vectors[49:], 3)
    assert numbers[0].tolist() == [49, 48, 47]
    assert distances[0].tolist() == [0.0, 1 / 256, 2 / 256]


def test_scan_with_many_queries_takes_little_memory() -> None:
    """A batch of queries takes memory for queries times rows at most, and not for dimensions."""
    vectors = np.random.default_rng(1).normal(size=(3_000, 64)).astype(np.float32)
    index = ScanIndex.build(vectors, "L2")
    tracemalloc.start()
    index.search(vectors, 5)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64 * 1024 * 1024 < vectors.nbytes * len(vectors)


@pytest.mark.parametrize("metric", ["COSINE", "L2", "IP"])
def test_scan_refuses_queries_of_another_dimension_as_milvus_lite_does(metric: str) -> None:
    """A query with too few numbers gets the same words from both."""
    vectors = np.ones((5, 8), dtype=np.float32)
    mask = np.arange(5) > 1
    said = []
    for index in (BruteForceIndex, ScanIndex):
        with pytest.raises(ValueError, match=r"shape|dimension") as refusal:
            index.build(vectors, metric).search(np.ones((1, 2), dtype=np.float32), 1, mask)
        said.append(str(refusal.value))
    assert said[0] == said[1]


def test_unknown_version_keeps_its_own_search(caplog: pytest.LogCaptureFixture) -> None:
    """The replacement stands aside, and says so, where its results were never compared."""
    assert is_proved(PROVED_ON[0])
    assert not caplog.records
    assert not is_proved("9.9.9")
    assert "9.9.9" in caplog.text


@pytest.mark.parametrize("metric", ["COSINE", "L2", "IP"])
@pytest.mark.parametrize("share", [0.9, 0.3, 0.01])
def test_graph_finds_what_milvus_lites_way_of_asking_finds(metric: str, share: float) -> None:
    """Rows given as bits are found as they are when given as a list, and none is missing."""
    chance = np.random.default_rng(5)
    vectors = chance.normal(size=(2_000, 16)).astype(np.float32)
    queries = chance.normal(size=(3, 16)).astype(np.float32)
    mask = chance.random(len(vectors)) < share
    index = FaissHnswIndex.build(vectors, metric, None)
    for breadth in (None, {"ef": 200}):
        found = search_index(index, vectors, queries, 10, mask, breadth)
        expected = index.search(queries, 10, mask, breadth)
        exact = BruteForceIndex.build(vectors, metric).search(queries, 10, mask)
        if np.count_nonzero(mask) > 500:
            assert np.array_equal(found[0], expected[0])
            assert np.allclose(found[1], expected[1], atol=1e-5)
        else:
            assert np.array_equal(found[0], exact[0])
    everything = search_index(index, vectors, queries, len(vectors), mask, None)[0]
    assert all(set(rows[rows >= 0]) == set(np.flatnonzero(mask)) for rows in everything)
