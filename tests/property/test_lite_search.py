"""Reads that keep what they know answer as Milvus Lite's own, whatever was written before."""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from milvus_lite.engine.collection import Collection
from milvus_lite.schema.types import (
    CollectionSchema,
    DataType,
    FieldSchema,
    Function,
    FunctionType,
)

from milvane.instances.lite import checkpoint, search
from milvane.instances.lite.memory import QuickMemTable

DIMENSION = 4
FILTERS = (None, "number > 3", 'word like "w1%"', "extra in [1, 2]", "number > 99", "word is null")
WORDS = ("red", "green", "apple", "pear", "wine")
PARTITIONS = (None, ["_default"], ["p"], ["_default", "p"], ["absent"])
OUTPUTS = (None, ["number"], ["vector", "word"], ["extra"], ["*"], ["id", "$meta"], ["missing"])

Step = tuple[str, list[int], str]

steps = st.lists(
    st.tuples(
        st.sampled_from(["insert", "insert", "upsert", "delete", "flush", "flush", "drop"]),
        st.lists(st.integers(0, 15), min_size=1, max_size=6, unique=True),
        st.sampled_from(["_default", "_default", "p"]),
    ),
    max_size=14,
)
MERGE: list[Step] = [
    step
    for first in range(5)
    for step in (("insert", [first, first + 1, 9], "_default"), ("flush", [0], "_default"))
]


@contextmanager
def a_collection(key_type: DataType, index: str | None, metric: str) -> Iterator[Collection]:
    """Make a collection whose reads are ours."""
    schema = CollectionSchema(
        fields=[
            FieldSchema(name="id", dtype=key_type, is_primary=True, max_length=20),
            FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=DIMENSION, nullable=True),
            FieldSchema(name="number", dtype=DataType.INT64),
            FieldSchema(name="word", dtype=DataType.VARCHAR, max_length=20, nullable=True),
            FieldSchema(name="text", dtype=DataType.VARCHAR, max_length=99, enable_analyzer=True),
            FieldSchema(name="bm25", dtype=DataType.SPARSE_FLOAT_VECTOR, is_function_output=True),
            FieldSchema(name="sparse", dtype=DataType.SPARSE_FLOAT_VECTOR),
        ],
        functions=[
            Function(
                name="words",
                function_type=FunctionType.BM25,
                input_field_names=["text"],
                output_field_names=["bm25"],
            )
        ],
        enable_dynamic_field=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection("rows", folder, schema)
        collection._memtable = QuickMemTable.from_rows_of(collection._memtable)
        search.take_over(collection)
        if index is not None:
            collection.create_index("vector", {"index_type": index, "metric_type": metric})
            collection.load()
        yield collection
        collection.close()


def milvus_lites(collection: Collection) -> Collection:
    """Return the same rows, read by Milvus Lite's own methods."""
    twin = copy.copy(collection)
    for name in ("_read_snapshot", "_num_entities", "query", "get", "_search_sparse"):
        del twin.__dict__[name]
    return twin


def key_of(collection: Collection, number: int) -> Any:
    """Say which primary key a number stands for."""
    is_number = collection.schema.fields[0].dtype is DataType.INT64
    return number if is_number else f"key {number}"


def take(collection: Collection, step: Step, seed: int) -> None:
    """Write to a collection, or have it moved to disk and merged."""
    action, numbers, partition = step
    keys = [key_of(collection, number) for number in numbers]
    if not collection.has_partition("p"):
        collection.create_partition("p")
    chance = np.random.default_rng(seed)
    if action == "delete":
        collection.delete(keys, None if partition == "_default" else partition)
        if (
            partition == "p"
        ):  # in memory it is no deletion of sparse vectors elsewhere, on disk it is
            checkpoint.move_to_disk(collection)
    elif action in {"flush", "drop"}:
        checkpoint.move_to_disk(collection)
        collection._wait_for_bg()
        if action == "drop":
            collection.drop_partition("p")
    else:
        rows = [
            {
                "id": key,
                "vector": None if chance.random() < 0.1 else chance.random(DIMENSION).tolist(),
                "number": int(chance.integers(10)),
                "word": None if chance.random() < 0.2 else f"w{chance.integers(30)}",
                "extra": int(chance.integers(5)),
                "text": " ".join(chance.choice(WORDS, size=3)),
                "sparse": {int(chance.integers(6)): float(chance.random()), 9: 0.5},
            }
            for key in keys
        ]
        getattr(collection, action)(rows, partition_name=partition)


def assert_alike(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Compare the hits of one query; equally near rows have no order."""
    distances = [[hit["distance"] for hit in hits] for hits in (ours, theirs)]
    assert np.allclose(*distances, atol=1e-5)
    for end, (hit, after) in enumerate(itertools.pairwise(theirs), 1):
        if abs(after["distance"] - hit["distance"]) > 1e-4:
            found, expected = ({each["id"]: each for each in part[:end]} for part in (ours, theirs))
            assert found.keys() == expected.keys()
            for key, each in found.items():
                assert each["entity"] == expected[key]["entity"]


def counts_alike(collection: Collection, arguments: dict[str, Any]) -> bool:
    """Say whether BM25 counts the same words in both: Milvus Lite counts in each source alone."""
    in_memory = collection._memtable.size() > 0
    sources = len(collection._segments_snapshot()) + in_memory
    return sources < 2 and not (in_memory and arguments["expr"])


def compare(collection: Collection, chance: np.random.Generator) -> None:
    """Ask both for the same, in one way of many."""
    twin = milvus_lites(collection)

    def pick(options: Any) -> Any:
        return options[chance.integers(len(options))]

    expr, partitions, outputs = pick(FILTERS), pick(PARTITIONS), pick(OUTPUTS)
    arguments: dict[str, Any] = {
        "query_vectors": chance.random((2, DIMENSION)).tolist(),
        "top_k": int(pick((1, 3, 40))),
        "partition_names": partitions,
        "expr": expr,
        "output_fields": outputs,
        "offset": int(pick((0, 0, 2))),
        "group_by_field": pick((None, None, "number")),
        "radius": pick((None, None, 0.3)),
    }
    for ours, theirs in zip(collection.search(**arguments), twin.search(**arguments), strict=True):
        if arguments["group_by_field"] is None:
            assert_alike(ours, theirs)
        else:
            assert [hit["_group_by_value"] for hit in ours] == [
                hit["_group_by_value"] for hit in theirs
            ]
    for name, queries in (("bm25", ["red apple", "wine"]), ("sparse", [{1: 1.0, 9: 0.1}] * 2)):
        arguments |= {"anns_field": name, "query_vectors": queries, "group_by_field": None}
        for ours, theirs in zip(
            collection.search(**arguments), twin.search(**arguments), strict=True
        ):
            if name == "sparse" or counts_alike(collection, arguments):
                assert_alike(ours, theirs)
            elif arguments["top_k"] > 17 and arguments["radius"] is None:
                assert len(ours) == len(theirs)
                if not arguments["offset"]:
                    assert {hit["id"] for hit in ours} == {hit["id"] for hit in theirs}
    paging = {"limit": pick((None, 3, 0)), "offset": int(pick((0, 2)))}
    for by_key in (False, True):
        rows = collection.query(expr, outputs, partitions, **paging, order_by_pk=by_key)
        assert list(rows) == twin.query(expr, outputs, partitions, **paging, order_by_pk=by_key)
    keys = [key_of(collection, number) for number in range(17)]
    assert collection.get(keys, partitions, expr, outputs) == twin.get(
        keys, partitions, expr, outputs
    )
    assert collection.num_entities == twin.num_entities
    assert collection.partition_num_entities("_default") == twin.partition_num_entities("_default")


@settings(max_examples=40, deadline=None)
@given(
    steps,
    st.sampled_from([DataType.INT64, DataType.VARCHAR]),
    st.sampled_from([None, "FLAT", "HNSW", "AUTOINDEX"]),
    st.sampled_from(["L2", "IP", "COSINE"]),
    st.integers(0, 1000),
)
@example(MERGE, DataType.INT64, "AUTOINDEX", "COSINE", 1)
@example([*MERGE, ("delete", [1, 9], "_default"), *MERGE], DataType.VARCHAR, "HNSW", "L2", 2)
@example(
    [
        ("insert", [1, 2], "_default"),
        ("flush", [0], "_default"),
        ("insert", [1], "p"),
        ("flush", [0], "_default"),
        ("drop", [0], "p"),
    ],
    DataType.INT64,
    None,
    "IP",
    3,
)
def test_reads_answer_as_milvus_lites_own(
    history: list[Step], key_type: DataType, index: str | None, metric: str, seed: int
) -> None:
    """Search, query, get and count find the same rows after every step of any history."""
    with a_collection(key_type, index, metric) as collection:
        for number, step in enumerate(history):
            take(collection, step, seed * 100 + number)
            compare(collection, np.random.default_rng(seed * 100 + number))
