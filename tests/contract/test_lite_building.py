"""Graphs of rounded vectors, and vectors in files of their own, answer as Milvus Lite's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from milvus_lite.index.brute_force import BruteForceIndex
from milvus_lite.index.spec import IndexSpec
from numpy.typing import NDArray

from milvane.instances.lite import mapping
from milvane.instances.lite.building import build, holds_rounded
from milvane.instances.lite.graphs import search_index

ROWS, DIMENSION = 3_000, 16
METRICS = ["COSINE", "IP", "L2"]


def vectors_around(middle: float = 0.0, spread: float = 1.0) -> NDArray[np.float32]:
    """Make vectors, the same in every run."""
    chance = np.random.default_rng(3)
    return (middle + spread * chance.standard_normal((ROWS, DIMENSION))).astype(np.float32)


def spec_of(metric: str, index_type: str = "AUTOINDEX") -> IndexSpec:
    """Name an index of a field."""
    return IndexSpec("vector", index_type, metric, {}, {})


def recall(metric: str, index: object, vectors: NDArray[np.float32]) -> float:
    """Say how many of the nearest are found; distances of those must be exact."""
    queries = vectors[::100] + np.float32(0.01)
    exact = BruteForceIndex.build(vectors, metric).search(queries, 10)
    found = search_index(index, vectors, queries, 10, None, None)
    shared = 0
    for row, (numbers, distances) in enumerate(zip(*found, strict=True)):
        true = dict(zip(exact[0][row].tolist(), exact[1][row].tolist(), strict=True))
        both = [(distances[i], true[n]) for i, n in enumerate(numbers.tolist()) if n in true]
        np.testing.assert_allclose(*zip(*both, strict=True), rtol=1e-5, atol=1e-5)
        assert list(distances) == sorted(distances)
        shared += len(both)
    return shared / exact[0].size


@pytest.mark.parametrize("metric", METRICS)
def test_graph_of_rounded_vectors_finds_the_nearest_with_their_distances(metric: str) -> None:
    """At least 95 of 100 of the nearest are found, at the distances of the vectors themselves."""
    vectors = vectors_around()
    index = build(spec_of(metric), vectors)

    assert holds_rounded(index)
    assert recall(metric, index, vectors) >= 0.95


@pytest.mark.parametrize("metric", METRICS)
def test_graph_that_is_extended_finds_old_and_new_rows(metric: str) -> None:
    """A graph continued from that of the first rows is as good, and leaves the other as it was."""
    vectors = vectors_around()
    base = build(spec_of(metric), vectors[:2_000])
    index = build(spec_of(metric), vectors, base)

    assert (base.num_vectors, index.num_vectors) == (2_000, ROWS)
    assert recall(metric, base, vectors[:2_000]) >= 0.95
    assert recall(metric, index, vectors) >= 0.95


@pytest.mark.parametrize(
    ("metric", "middle", "spread"),
    [("L2", 1_000.0, 0.01), ("L2", 0.0, 1e6), ("IP", 0.0, 1e6), ("IP", 0.0, 1e-8)],
)
def test_vectors_that_rounding_would_confuse_are_not_rounded(
    metric: str, middle: float, spread: float
) -> None:
    """Vectors that differ by less than 16 bits can say, or are too long, are kept as they are."""
    vectors = vectors_around(middle, spread)
    rounded = build(spec_of(metric), vectors_around())
    index = build(spec_of(metric), vectors)

    assert not holds_rounded(index)
    assert not holds_rounded(build(spec_of(metric), vectors, rounded))
    found, _ = search_index(index, vectors, vectors[:50], 1, None, None)
    if metric == "L2":
        assert (found[:, 0] == np.arange(50)).mean() >= 0.9


def test_parameters_of_a_graph_are_those_asked_for() -> None:
    """A graph with named parameters has them, and one without has Milvus Lite's."""
    vectors = vectors_around()[:200]
    asked = IndexSpec("vector", "HNSW", "IP", {"M": 7, "efConstruction": 33}, {})
    indexes = [build(each, vectors)._index for each in (asked, spec_of("IP", "HNSW"))]

    edges = [each.hnsw.nb_neighbors(0) // 2 for each in indexes]
    assert edges == [7, 16]
    assert [each.hnsw.efConstruction for each in indexes] == [33, 200]


def a_segment(folder: Path, rows: int = ROWS, *, nulls: bool = False) -> tuple[pa.Table, Path]:
    """Write a segment and the file of its vectors."""
    kind = pa.list_(pa.float32(), 1_024)
    numbers = pa.array(np.arange(rows * 1_024, dtype=np.float32))
    column = pa.FixedSizeListArray.from_arrays(numbers, type=kind)
    if nulls:
        column = pa.concat_arrays([column.slice(1), pa.nulls(1, kind)])
    layout = pa.schema([("id", pa.int64()), pa.field("vector", kind), ("word", pa.string())])
    words = pa.array([f"word {n}" for n in range(rows)])
    table = mapping.numbered(pa.table([pa.array(range(rows)), column, words], schema=layout))
    path = folder / "data" / "data_000001_003000.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)
    mapping.write_vectors(table, path)
    return table, path


def test_mapped_rows_are_the_rows_of_the_segment(tmp_path: Path) -> None:
    """A segment whose vectors are mapped reads as one that is read whole, column by column."""
    table, path = a_segment(tmp_path)
    before = pa.total_allocated_bytes()
    rows = mapping.read_rows(str(path))

    assert pa.total_allocated_bytes() - before < ROWS * 1_024
    assert rows.equals(table)
    assert rows.schema.equals(pq.read_table(path).schema)
    mapping.let_go_of_pages(path)
    assert rows.equals(table)


def test_segment_without_a_whole_file_of_vectors_is_read_itself(tmp_path: Path) -> None:
    """A short or missing file of vectors, or one of an older segment of that name, is not used."""
    table, path = a_segment(tmp_path)
    (file,) = (tmp_path / "vectors").iterdir()
    file.write_bytes(file.read_bytes()[:-4])
    assert mapping.read_rows(str(path)).equals(table)

    other, _ = a_segment(tmp_path, ROWS - 1)
    assert len(list((tmp_path / "vectors").iterdir())) == 2
    assert mapping.read_rows(str(path)).equals(other)
    for each in (tmp_path / "vectors").iterdir():
        each.unlink()
    assert mapping.read_rows(str(path)).equals(other)


@pytest.mark.parametrize(("rows", "nulls"), [(100, False), (ROWS, True)])
def test_few_vectors_and_vectors_with_nulls_stay_in_memory(
    tmp_path: Path, rows: int, nulls: bool
) -> None:
    """No file is made where it would save little, or could not say which vectors are missing."""
    table, path = a_segment(tmp_path, rows, nulls=nulls)

    assert not (tmp_path / "vectors").exists()
    assert mapping.read_rows(str(path)).equals(table)


def test_files_of_vectors_go_with_their_segments(tmp_path: Path) -> None:
    """Only the whole files of segments that there are outlive a tidying."""
    _, path = a_segment(tmp_path)
    (tmp_path / "vectors" / "data_000001_003000.vector.00.tmp").touch()
    mapping.remove_unused(tmp_path, ["data/data_000001_003000.parquet"])
    assert len(list((tmp_path / "vectors").iterdir())) == 1
    mapping.remove_unused(tmp_path, ["data/data_000001_003001.parquet"])

    assert not list((tmp_path / "vectors").iterdir())
    assert mapping.read_rows(str(path)).num_rows == ROWS
