"""
What a collection's readers see, kept between reads and brought up to date when rows change.

One `Views` belongs to each collection. A reader asks it for a `View`: the segments, which of their
rows are live, and the rows in memory, all of one moment. A view never changes; it is made anew only
after a write, a flush or a merge, and then from the one before. Making one waits for no disk: what
a flush or a merge changes is worked out beside (`foresee`), and taken in one step (`exchange`).
"""

# ruff: noqa: SLF001 - segments, tombstones and their lock are not among Milvus Lite's public names

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from milvus_lite.search.filter import evaluate_mask
from milvus_lite.search.indexed_filter import evaluate_segment_filter
from milvus_lite.storage.delta_index import DeltaIndex

from milvane.instances.lite.live import LiveRows, hide, hide_deleted, places_of, update
from milvane.instances.lite.scanning import ScanIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from milvus_lite.engine.collection import Collection
    from milvus_lite.search.filter.semantic import CompiledExpr
    from milvus_lite.storage.segment import Segment

    from milvane.instances.lite.live import Hidden, Mask
    from milvane.instances.lite.memory import QuickMemTable, RecentRows

    Foresight = dict[frozenset[str] | None, LiveRows]

_SCOPES_KEPT = 16
"""Sets of partitions whose views are kept."""
_FILTERS_KEPT = 16
"""Filters of each segment whose masks are kept."""
_versions = count(1)


class VersionedTombstones(DeltaIndex):
    """
    Milvus Lite's deletions on disk, with a number that no others have.

    They are added to a copy (`exchange`), and entries that no segment needs any more are dropped
    from a copy, so that a reader may keep what it found, and need not copy it.
    """

    _map: dict[Any, int]
    version = 0

    @classmethod
    def from_entries_of(cls, other: DeltaIndex) -> VersionedTombstones:
        """Take over the entries of an index that nobody uses any more."""
        index = cls(other._pk_name)
        index._map = other._map
        return index

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Add deletions."""
        super().add_batch(batch)
        self.version = next(_versions)

    def gc_below(self, min_active_data_seq: int) -> int:
        """Drop the entries that are older than every row; returns how many."""
        entries = self._map
        kept = {key: seq for key, seq in entries.items() if seq >= min_active_data_seq}
        dropped = len(entries) - len(kept)
        if dropped:
            self._map = kept
        return dropped

    def frozen_copy(self) -> DeltaIndex:
        """Return the entries of now."""
        copy = DeltaIndex(self._pk_name)
        copy._map = self._map
        return copy


@dataclass(slots=True, eq=False)
class _Derived:
    """What was computed from a segment, which never changes."""

    scans: dict[tuple[str, str], ScanIndex] = field(default_factory=dict)
    filters: OrderedDict[int, tuple[CompiledExpr, Mask]] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The rows that one read sees."""

    segments: tuple[Segment, ...]
    """Those with rows, in Milvus Lite's order."""
    masks: dict[Segment, Mask | None]
    """Which rows of a segment are live; nothing if all are."""
    recent: RecentRows
    recent_mask: Mask | None
    memtable: QuickMemTable
    live: LiveRows
    tombstones: DeltaIndex
    begun_ns: int
    """When it began to be made: it has all rows that were acknowledged before."""
    _derived: dict[Segment, _Derived]
    _recent_scans: dict[tuple[str, str], ScanIndex] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rows there are."""
        live = sum(
            segment.num_rows if mask is None else int(np.count_nonzero(mask))
            for segment, mask in self.masks.items()
        )
        if self.recent_mask is None:
            return live + len(self.recent.keys)
        return live + int(np.count_nonzero(self.recent_mask))

    def scan(self, segment: Segment, name: str, metric: str) -> ScanIndex:
        """Return what searches a segment that has no index of a field."""
        scans = self._derived[segment].scans
        scan = scans.get((name, metric))
        if scan is None:
            scan = scans[name, metric] = ScanIndex(segment.vector_data(name)[0], metric)
        return scan

    def recent_scan(self, name: str, metric: str) -> ScanIndex:
        """Return what searches the rows in memory."""
        scan = self._recent_scans.get((name, metric))
        if scan is None:
            scan = self._recent_scans[name, metric] = ScanIndex(self.recent.vectors(name), metric)
        return scan

    def matching(self, segment: Segment, expression: CompiledExpr, plan: Any) -> Mask | None:
        """Say which rows of a segment are live and match; nothing if all do."""
        filters = self._derived[segment].filters
        known = filters.get(id(expression))
        if known is None:
            mask = evaluate_segment_filter(segment, expression, plan).astype(bool, copy=False)
            # The expression is kept, so that no other can get its id.
            known = filters[id(expression)] = (expression, mask)
            while len(filters) > _FILTERS_KEPT:
                filters.popitem(last=False)
        return both(self.masks[segment], known[1])

    def recent_matching(self, expression: CompiledExpr) -> Mask | None:
        """Say which rows in memory are live and match; nothing if all do."""
        return both(self.recent_mask, evaluate_mask(expression, self.recent.table).astype(bool))


class _Contents(NamedTuple):
    """What a collection holds at one moment."""

    segments: tuple[Segment, ...]
    tombstones: DeltaIndex
    tombstones_version: int
    memtable: QuickMemTable


class Views:
    """The views of one collection, by the partitions that they are restricted to."""

    def __init__(self, collection: Collection) -> None:
        """
        Begin with no view.

        Args:
            collection: Whose memory is a `QuickMemTable`, and whose tombstones are versioned.
        """
        self._collection = collection
        self.swap = threading.Lock()
        """Guards the collection's segments, tombstones and memory together, and the two maps below.
        Nobody who has it does anything that takes long."""
        self.making = threading.RLock()
        """Guards what is derived from segments. One view is made at a time: the others who want it
        then find it there."""
        self._views: OrderedDict[frozenset[str] | None, View] = OrderedDict()
        self.foreseen: Foresight = {}
        """What is live since segments or tombstones were last exchanged."""
        self._derived: dict[Segment, _Derived] = {}

    def look(self, partitions: Sequence[str] | None = None) -> View:
        """
        Return a view with all rows that were acknowledged before this call.

        Args:
            partitions: Where to look; everywhere if not given.
        """
        scope = frozenset(partitions) if partitions else None
        view = self._views.get(scope)
        if view is not None and self._is_current(view, scope):
            return view
        asked_ns = time.monotonic_ns()
        with self.making:
            view = self._views.get(scope)
            if view is None or (view.begun_ns < asked_ns and not self._is_current(view, scope)):
                view = self._make(scope)
                self._keep(scope, view)
        return view

    def foresee(self, segments: Sequence[Segment], tombstones: VersionedTombstones) -> Foresight:
        """
        Work out which rows will be live, beside readers, before it is so.

        Args:
            segments: All that there will be.

            tombstones: All deletions on disk that there will be.

        Returns:
            What becomes `foreseen` when it is so.
        """
        with self.swap:
            known = [
                (scope, self.foreseen.get(scope, view.live)) for scope, view in self._views.items()
            ]
        return {
            scope: update(live, _within(segments, scope), tombstones._map, tombstones.version)
            for scope, live in known
        }

    def _is_current(self, view: View, scope: frozenset[str] | None) -> bool:
        # Without the lock: a change that is half done has not yet the segments of any view.
        collection = self._collection
        memtable = collection._memtable
        try:
            segments = _within(tuple(collection._segment_cache.values()), scope)
        except RuntimeError:  # they changed while they were listed
            return False
        return (
            view.memtable is memtable
            and view.recent.version == memtable.version
            and view.live.tombstones_version == collection._delta_index.version
            and view.live.segments == segments
        )

    def _contents(self) -> _Contents:
        collection = self._collection
        with self.swap:
            tombstones = collection._delta_index
            return _Contents(
                tuple(collection._segment_cache.values()),
                tombstones.frozen_copy(),
                tombstones.version,
                collection._memtable,
            )

    def _make(self, scope: frozenset[str] | None) -> View:
        begun_ns = time.monotonic_ns()
        contents = self._contents()
        live = self._live(contents, scope)
        # Should these rows move to disk now, the table has them still: it is another that is empty.
        recent = contents.memtable.capture(None if scope is None else sorted(scope))
        masks, recent_mask = _with_memory(live, recent, contents.tombstones._map)
        for gone in self._derived.keys() - set(contents.segments):
            del self._derived[gone]
        for segment in contents.segments:
            self._derived.setdefault(segment, _Derived())
        return View(
            segments=tuple(each for each in live.segments if each.num_rows),
            masks=masks,
            recent=recent,
            recent_mask=recent_mask,
            memtable=contents.memtable,
            live=live,
            tombstones=contents.tombstones,
            begun_ns=begun_ns,
            _derived={each: self._derived[each] for each in live.segments},
        )

    def _live(self, contents: _Contents, scope: frozenset[str] | None) -> LiveRows:
        segments, version = _within(contents.segments, scope), contents.tombstones_version
        with self.swap:
            before = self._views[scope].live if scope in self._views else LiveRows()
            foreseen = self.foreseen.get(scope, before)
        for known in (before, foreseen):
            if known.segments == segments and known.tombstones_version == version:
                return known
        return update(foreseen, segments, contents.tombstones._map, version)

    def _keep(self, scope: frozenset[str] | None, view: View) -> None:
        with self.swap:
            self._views[scope] = view
            self._views.move_to_end(scope)
            while len(self._views) > _SCOPES_KEPT:
                self._views.popitem(last=False)


def attach(collection: Collection, views: Views) -> None:
    """Have what changes a collection's segments and memory know who looks at them."""
    collection._milvane_views = views


def views_of(collection: Collection) -> Views | None:
    """Return a collection's views; none if Milvus Lite reads it by its own ways."""
    return getattr(collection, "_milvane_views", None)


def _within(segments: Sequence[Segment], scope: frozenset[str] | None) -> tuple[Segment, ...]:
    if scope is None:
        return tuple(segments)
    return tuple(each for each in segments if each.partition in scope)


def both(one: Mask | None, other: Mask | None) -> Mask | None:
    """Intersect two masks, where nothing stands for all rows."""
    if one is None or other is None:
        mask = one if other is None else other
        return None if mask is None or mask.all() else mask
    return one & other


def _with_memory(
    live: LiveRows, recent: RecentRows, tombstones: dict[Any, int]
) -> tuple[dict[Segment, Mask | None], Mask | None]:
    hidden: Hidden = {}
    older_in_memory = {
        recent.positions[key]
        for key in recent.positions.keys() & tombstones.keys()
        if tombstones[key] > recent.numbers[recent.positions[key]]
    }
    for segment in live.segments:
        hide_deleted(hidden, segment, recent.deletions)
        places = places_of(segment)
        for key in recent.positions.keys() & places.keys():
            row, position = places[key], recent.positions[key]
            difference = int(recent.numbers[position]) - int(segment.seqs[row])
            if difference > 0:
                hidden.setdefault(segment, set()).add(row)
            elif difference < 0:
                older_in_memory.add(position)
    mask = None
    if older_in_memory:
        mask = np.ones(len(recent.keys), dtype=bool)
        mask[list(older_in_memory)] = False
    return hide(live.masks, hidden), mask
