"""
Searches, queries and counts of Milvus Lite whose cost does not grow with every row.

Milvus Lite works out at each read, in Python loops over all rows, which of them are still there.
Here that is kept between reads (`views`), and a read does only what depends on its question: it
asks each segment's index, merges, and makes records of the rows that win, from the columns that
are wanted. Results are those of the original, row by row; `tests/property` compares them.

`take_over` puts this in the place of six methods of a collection and of one function. It could be
offered to Milvus Lite as it is: there `Views` would belong to `Collection`, and the functions below
would be its methods.
"""

# ruff: noqa: SLF001 - these functions stand in for methods of Milvus Lite's collection

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from milvus_lite.engine import collection as lite
from milvus_lite.engine.projection import build_projection_plan, project_record
from milvus_lite.storage.delta_index import DeltaIndex

from milvane.instances.lite.graphs import search_index
from milvane.instances.lite.records import Materials
from milvane.instances.lite.sparse_search import search_sparse
from milvane.instances.lite.views import VersionedTombstones, View, Views, attach, both

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from milvus_lite.engine.collection import Collection
    from milvus_lite.engine.projection import ProjectionPlan
    from numpy.typing import NDArray

    from milvane.instances.lite.live import Mask

    Found = tuple[NDArray[np.int64], NDArray[np.float32]] | None

Hits = list[dict[str, Any]]

PROVED_ON = ("3.2.2",)
"""Versions of Milvus Lite with which results were compared."""

_search_as_before = lite.execute_search_with_index
_logger = logging.getLogger(__name__)


class Tombstones(DeltaIndex):
    """What a collection hands to a search as its deletions, and all that the search needs."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self.view = views.look()
        super().__init__(self.view.tombstones._pk_name)
        self._map = self.view.tombstones._map


def is_proved(lite_version: str) -> bool:
    """Say whether this module may stand in for a version of Milvus Lite; warn if not."""
    if lite_version in PROVED_ON:
        return True
    _logger.warning(
        "searches are those of milvus-lite %s itself, slower with each row: their replacement was "
        "compared with %s only",
        lite_version,
        ", ".join(PROVED_ON),
    )
    return False


def take_over(collection: Collection) -> None:
    """
    Put the reads of a collection into the hands of this module.

    Args:
        collection: Just opened, with its rows in memory in a `QuickMemTable`.
    """
    lite.execute_search_with_index = search
    collection._delta_index = VersionedTombstones.from_entries_of(collection._delta_index)
    views = Views(collection)
    attach(collection, views)
    collection._read_snapshot = partial(_read_snapshot, views)
    collection._num_entities = partial(_count, views)
    collection.query = partial(query, collection, views)
    collection.get = partial(get, collection, views)
    collection._search_sparse = partial(search_sparse, collection, views)


def _read_snapshot(views: Views) -> tuple[tuple[Any, ...], DeltaIndex]:
    tombstones = Tombstones(views)
    return tombstones.view.live.segments, tombstones


def _count(views: Views, partition_names: list[str] | None) -> int:
    return views.look(partition_names).count


def search(
    query_vectors: NDArray[np.float32],
    segments: Any,
    memtable: Any,
    delta_index: DeltaIndex,
    top_k: int,
    metric_type: str,
    pk_field: str,
    vector_field: str,
    partition_names: list[str] | None = None,
    compiled_filter: Any = None,
    output_fields: list[str] | None = None,
    indexed_filter_plan: Any = None,
    project_record_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    search_params: dict[str, Any] | None = None,
) -> list[Hits]:
    """
    Find the nearest rows, in the place of Milvus Lite's `execute_search_with_index`.

    The arguments are its own; collections that are not taken over are searched as before.

    Returns:
        The hits of each query, nearest first.
    """
    if not isinstance(delta_index, Tombstones) or project_record_fn is None:
        return _search_as_before(
            query_vectors,
            segments,
            memtable,
            delta_index,
            top_k,
            metric_type,
            pk_field,
            vector_field,
            partition_names,
            compiled_filter,
            output_fields,
            indexed_filter_plan,
            project_record_fn,
            search_params,
        )
    view = delta_index.views.look(partition_names) if partition_names else delta_index.view
    if top_k <= 0:
        return [[] for _ in query_vectors]
    sources = [
        _search_segment(
            view,
            segment,
            vector_field,
            metric_type,
            query_vectors,
            top_k,
            compiled_filter,
            indexed_filter_plan,
            search_params,
        )
        for segment in view.segments
    ]
    sources.append(
        _search_memory(view, vector_field, metric_type, query_vectors, top_k, compiled_filter)
    )
    materials = Materials(view, pk_field, output_fields)
    return [
        [
            {
                "id": materials.key(source, row),
                "distance": distance,
                "entity": project_record_fn(materials.record(source, row)),
            }
            for distance, source, row in merged
        ]
        for merged in _merge(sources, len(query_vectors), top_k)
    ]


def _search_segment(
    view: View,
    segment: Any,
    name: str,
    metric: str,
    queries: NDArray[np.float32],
    top_k: int,
    expression: Any,
    plan: Any,
    parameters: dict[str, Any] | None,
) -> Found:
    mask = view.masks[segment]
    if expression is not None:
        mask = view.matching(segment, expression, plan)
    vectors, present = segment.vector_data(name)
    mask = both(mask, present)
    if mask is not None and not mask.any():
        return None
    index = segment.indexes.get(name)
    if index is None:
        index = view.scan(segment, name, metric)
    return search_index(index, vectors, queries, top_k, mask, parameters)


def _search_memory(
    view: View,
    name: str,
    metric: str,
    queries: NDArray[np.float32],
    top_k: int,
    expression: Any,
) -> Found:
    if not view.recent.keys:
        return None
    mask = view.recent_mask if expression is None else view.recent_matching(expression)
    if mask is not None and not mask.any():
        return None
    return view.recent_scan(name, metric).search(queries, top_k, mask)


def _merge(
    sources: list[Found], queries: int, top_k: int
) -> Iterator[list[tuple[float, int, int]]]:
    """Yield the nearest rows of each query: distance, number of the source, row in it."""
    found = [(number, *each) for number, each in enumerate(sources) if each is not None]
    if not found:
        yield from ([] for _ in range(queries))
        return
    origins = np.concatenate([np.full(rows.shape[1], number) for number, rows, _ in found])
    rows = np.concatenate([rows for _, rows, _ in found], axis=1)
    distances = np.concatenate([distances for _, _, distances in found], axis=1)
    for query in range(queries):
        real = np.flatnonzero(rows[query] >= 0)
        order = np.lexsort((rows[query, real], origins[real], distances[query, real]))
        best = real[order[:top_k]]
        yield list(
            zip(
                distances[query, best].tolist(),
                origins[best].tolist(),
                rows[query, best].tolist(),
                strict=True,
            )
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Rows of a view, in some order."""

    sources: NDArray[np.int64]
    """Numbers of the segments; the memory comes last."""
    rows: NDArray[np.int64]

    def part(self, begin: int, end: int | None) -> Places:
        """Return those of some positions."""
        return Places(self.sources[begin:end], self.rows[begin:end])

    def sorted_by_key(self, materials: Materials) -> Places:
        """Put them into the order of their primary keys."""
        pairs = zip(self.sources.tolist(), self.rows.tolist(), strict=True)
        keys = [materials.key(*pair) for pair in pairs]
        if keys and isinstance(keys[0], int):
            order = np.argsort(np.asarray(keys), kind="stable")
        else:
            order = np.asarray(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
        return Places(self.sources[order], self.rows[order])


class LazyRecords(Sequence[dict[str, Any]]):
    """Records that are made when they are looked at: counting them makes none."""

    def __init__(self, places: Places, make: Callable[[int, int], dict[str, Any]]) -> None:
        self._places = places
        self._make = make

    def __len__(self) -> int:
        return len(self._places.rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        return self._make(int(self._places.sources[index]), int(self._places.rows[index]))


def query(
    collection: Collection,
    views: Views,
    expr: str | None = None,
    output_fields: list[str] | None = None,
    partition_names: list[str] | None = None,
    limit: int | None = None,
    offset: int = 0,
    timezone: str | None = None,
    order_by_pk: bool = False,  # noqa: FBT001, FBT002 - Milvus Lite's signature
) -> Sequence[dict[str, Any]]:
    """
    Find the rows that match an expression, in the place of Milvus Lite's `Collection.query`.

    The arguments are its own.

    Returns:
        Records in Milvus Lite's order: segment by segment, memory last, or by key.

    Raises:
        TypeError: If the expression is no text.
    """
    if expr is not None and not isinstance(expr, str):
        raise TypeError("query() expr must be a string or None")
    collection._require_loaded()
    expression = collection._compile_filter(expr, timezone=timezone) if expr else None
    projection = build_projection_plan(output_fields, collection._schema, api_kind="query")
    plan = collection._indexed_filter_plan(expression)
    view = views.look(partition_names)
    wanted = None if limit is None else max(1, offset + limit)  # as Milvus Lite counts
    materials = Materials(view, collection.pk_field, output_fields)
    places = _matching(view, expression, plan, None if order_by_pk else wanted)
    if order_by_pk:
        places = places.sorted_by_key(materials)
    make = partial(_project, collection, projection, materials)
    return LazyRecords(places.part(0, wanted).part(offset, None), make)


def get(
    collection: Collection,
    views: Views,
    pks: list[Any],
    partition_names: list[str] | None = None,
    expr: str | None = None,
    output_fields: list[str] | None = None,
    timezone: str | None = None,
) -> list[dict[str, Any]]:
    """
    Find rows by their keys, in the place of Milvus Lite's `Collection.get`.

    The arguments are its own. It would look at the segments first and at the memory later: a row
    that moves to disk between the two would be in neither.

    Returns:
        Records in the order of the keys, without those that there are not.

    Raises:
        TypeError: If the keys are no list.
    """
    if not isinstance(pks, list):
        raise TypeError(f"pks must be a list, got {type(pks).__name__}")
    collection._require_loaded()
    projection = build_projection_plan(output_fields, collection._schema, api_kind="get")
    expression = collection._compile_filter(expr, timezone=timezone) if expr else None
    view = views.look(partition_names)
    fields = None if expression is not None else output_fields
    materials = Materials(view, collection.pk_field, fields)
    places = (_place_of(view, key) for key in pks)
    records = (materials.record(*place) for place in places if place is not None)
    return [
        project_record(record, collection._schema, projection)
        for record in records
        if expression is None or lite._row_matches_filter(record, expression)
    ]


def _place_of(view: View, key: Any) -> tuple[int, int] | None:
    """Say where the youngest row of a key is: number of the source, row in it."""
    if key in view.recent.positions:
        return len(view.segments), view.recent.positions[key]
    if key in view.recent.deletions:
        return None
    found = [
        (int(segment.seqs[row]), number, row)
        for number, segment in enumerate(view.segments)
        if (row := segment.find_row(key)) is not None
    ]
    if not found:
        return None
    seq, number, row = max(found)
    return None if view.tombstones.is_deleted(key, seq) else (number, row)


def _project(
    collection: Collection, projection: ProjectionPlan, materials: Materials, source: int, row: int
) -> dict[str, Any]:
    record: dict[str, Any] = project_record(
        materials.record(source, row), collection._schema, projection
    )
    return record


def _matching(view: View, expression: Any, plan: Any, wanted: int | None) -> Places:
    found: list[NDArray[np.int64]] = []
    for segment in view.segments:
        if wanted is not None and sum(map(len, found)) >= wanted:
            break
        mask = view.masks[segment]
        if expression is not None:
            mask = view.matching(segment, expression, plan)
        found.append(_rows(segment.num_rows, mask))
    else:
        mask = view.recent_mask
        if expression is not None and view.recent.keys:
            mask = view.recent_matching(expression)
        found.append(_rows(len(view.recent.keys), mask))
    sources = [np.full(len(rows), number) for number, rows in enumerate(found)]
    return Places(np.concatenate(sources), np.concatenate(found))


def _rows(count: int, mask: Mask | None) -> NDArray[np.int64]:
    return np.arange(count) if mask is None else np.flatnonzero(mask)
