"""
Searches of sparse vectors and BM25, without Milvus Lite's loops over all rows.

What is scored, and how, is Milvus Lite's; which rows are there comes from `views`. Two things
differ. A deletion that names a partition hides its key in every partition at once, as it does in
Milvus Lite too as soon as the deletion is on disk. And BM25 counts documents and words over all
segments and the memory together, as Milvus does: equal texts score alike wherever they are.
"""

# ruff: noqa: SLF001 - this function stands in for a method of Milvus Lite's collection

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from milvus_lite.analyzer.sparse import bytes_to_sparse
from milvus_lite.engine.projection import build_projection_plan, project_record
from milvus_lite.index.sparse_factory import (
    _search_prepared_sparse_index,
    create_sparse_index,
    sparse_index_matches,
)
from milvus_lite.index.sparse_inverted import SparseInvertedIndex

from milvane.instances.lite.records import Materials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from milvus_lite.engine.collection import Collection
    from milvus_lite.storage.segment import Segment
    from numpy.typing import NDArray

    from milvane.instances.lite.live import Mask
    from milvane.instances.lite.views import View, Views

    Hits = list[dict[str, Any]]
    Candidate = tuple[float, int, int]


@dataclass(frozen=True, slots=True)
class _Source:
    """Some rows that are searched together."""

    number: int
    """Of the segment; the memory comes last."""
    index: Any
    mask: Mask | None
    """Which of the index's rows may be found; nothing if all may."""
    rows: NDArray[np.int64] | None = None
    """The rows of the index; nothing if they have its numbers."""


def search_sparse(
    collection: Collection,
    views: Views,
    query_vectors: list[Any],
    vector_field: str,
    top_k: int,
    metric_type: str,
    partition_names: list[str] | None,
    expr: str | None,
    output_fields: list[str] | None,
    timezone: str | None = None,
) -> list[Hits]:
    """
    Find the best rows of each query, in the place of Milvus Lite's `Collection._search_sparse`.

    The arguments are its own.

    Returns:
        The hits of each query, best first.
    """
    projection = build_projection_plan(output_fields, collection._schema, api_kind="search")
    queries = collection._prepare_sparse_queries(query_vectors, vector_field)
    expression = collection._compile_filter(expr, timezone=timezone) if expr else None
    plan = collection._indexed_filter_plan(expression)
    spec = collection._index_specs.get(vector_field)
    parameters = spec.build_params if spec else {}
    view = views.look()  # everywhere: a row is obsolete wherever its successor is
    wanted = frozenset(partition_names) if partition_names else None
    sources = [
        _segment_source(view, number, vector_field, metric_type, parameters, expression, plan)
        for number, segment in enumerate(view.segments)
        if wanted is None or segment.partition in wanted
    ]
    rows = _rows_in_memory(view, wanted)
    if len(rows):
        sources.append(
            _memory_source(view, rows, vector_field, metric_type, parameters, expression)
        )
    found: list[list[Candidate]] = [[] for _ in queries]
    for source, index in zip(sources, _counting_together(sources, queries), strict=True):
        if source.mask is None or source.mask.any():
            numbers, distances = _search_prepared_sparse_index(
                index, queries, top_k, valid_mask=source.mask
            )
            if source.rows is not None:
                numbers = np.where(numbers < 0, -1, source.rows[numbers])
            _note(found, source.number, numbers, distances)
    materials = Materials(view, collection.pk_field, output_fields)
    return [
        [
            {
                "id": materials.key(source, row),
                "distance": distance,
                "entity": project_record(
                    materials.record(source, row), collection._schema, projection
                ),
            }
            for distance, source, row in sorted(each, key=lambda one: one[0])[:top_k]
        ]
        for each in found
    ]


def _segment_source(
    view: View,
    number: int,
    name: str,
    metric: str,
    parameters: Mapping[str, Any],
    expression: Any,
    plan: Any,
) -> _Source:
    segment = view.segments[number]
    mask = view.masks[segment]
    if expression is not None:
        mask = view.matching(segment, expression, plan)
    return _Source(number, _index_of(segment, name, metric, parameters), mask)


def _memory_source(
    view: View,
    rows: NDArray[np.int64],
    name: str,
    metric: str,
    parameters: Mapping[str, Any],
    expression: Any,
) -> _Source:
    index = _build((_value(view, name, row) for row in rows.tolist()), metric, parameters)
    mask = None
    if expression is not None:
        matching = view.recent_matching(expression)
        mask = None if matching is None else matching[rows]
    return _Source(len(view.segments), index, mask, rows)


def _counting_together(sources: list[_Source], queries: Iterable[Mapping[int, float]]) -> list[Any]:
    """Return the sources' indexes, those of BM25 with the counts of all of them."""
    indexes = [source.index for source in sources]
    if len(indexes) < 2 or not isinstance(indexes[0], SparseInvertedIndex):
        return indexes
    documents = sum(index.doc_count for index in indexes)
    words = sum(index.doc_count * index.avgdl for index in indexes)
    terms = {term for query in queries for term in query}
    frequencies = {term: sum(index._df.get(term, 0) for index in indexes) for term in terms}
    together = []
    for index in map(copy.copy, indexes):
        index.doc_count, index.avgdl = documents, words / documents if documents else 0.0
        index._df = frequencies
        together.append(index)
    return together


def _index_of(segment: Segment, name: str, metric: str, parameters: Mapping[str, Any]) -> Any:
    index = segment.sparse_indexes.get(name)
    if not sparse_index_matches(index, metric, parameters):
        index = _build(_decoded(segment.table.column(name).to_pylist()), metric, parameters)
        segment.sparse_indexes[name] = index
    return index


def _build(vectors: Iterable[Any], metric: str, parameters: Mapping[str, Any]) -> Any:
    index = create_sparse_index(metric, parameters)
    index.build(list(vectors))
    return index


def _decoded(values: Iterable[Any]) -> Iterable[Any]:
    return (bytes_to_sparse(each) if isinstance(each, bytes) else each or {} for each in values)


def _rows_in_memory(view: View, wanted: frozenset[str] | None) -> NDArray[np.int64]:
    recent = view.recent
    mask = view.recent_mask
    rows = np.arange(len(recent.keys)) if mask is None else np.flatnonzero(mask)
    if wanted is None:
        return rows
    partitions = [batch.column("_partition").to_pylist() for batch in recent.batches]
    places = (recent.places[row] for row in rows.tolist())
    return rows[[partitions[batch][row] in wanted for batch, row in places]]


def _value(view: View, name: str, position: int) -> Any:
    batch, row = view.recent.places[position]
    value = view.recent.batches[batch].column(name)[row].as_py()
    return bytes_to_sparse(value) if isinstance(value, bytes) else value or {}


def _note(found: list[list[Candidate]], source: int, numbers: Any, distances: Any) -> None:
    for query, (rows, away) in enumerate(zip(numbers.tolist(), distances.tolist(), strict=True)):
        found[query] += [
            (distance, source, row) for distance, row in zip(away, rows, strict=True) if row >= 0
        ]
