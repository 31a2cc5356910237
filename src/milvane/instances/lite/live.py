"""
Which rows of a collection's segments are its present rows. Pure: locks and caches are in `views`.

A row on disk is obsolete once a younger row of the same key, or a younger deletion of the key, is
on disk too. Segments never change, so this is worked out once for each pair of segments when the
younger one appears, and by walking over the smaller one's keys in C.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from milvus_lite.storage.segment import Segment
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Hidden = dict[Segment, set[int]]


@dataclass(frozen=True, slots=True, eq=False)
class LiveRows:
    """The present rows of some segments, as far as what is on disk tells."""

    segments: tuple[Segment, ...] = ()
    tombstones_version: int = -1
    newest_tombstone: int = -1
    """The highest sequence number of a deletion that was looked at."""
    masks: dict[Segment, Mask | None] = field(default_factory=dict)
    """Which rows of a segment are live; nothing if all are. Never changed in place."""


def places_of(segment: Segment) -> Mapping[Any, int]:
    """
    Say where each key of a segment is.

    Flushes and merges leave one row of a key in a segment. Where there are more, the youngest.
    """
    if len(segment.pk_to_row) == len(segment.pks):
        places: dict[Any, int] = segment.pk_to_row
        return places
    order = np.argsort(segment.seqs, kind="stable").tolist()
    return {segment.pks[row]: row for row in order}


def update(
    before: LiveRows,
    segments: Sequence[Segment],
    tombstones: Mapping[Any, int],
    tombstones_version: int,
) -> LiveRows:
    """
    Work out what is live after segments came and went, or keys were deleted.

    Args:
        before: What was live at some earlier time.

        segments: Those of now.

        tombstones: Key -> sequence number of its last deletion.

        tombstones_version: Changes when a deletion is added.

    Returns:
        What is live now.
    """
    if _has_lost_rows(before, segments):
        before = LiveRows()
    masks = {each: before.masks[each] for each in segments if each in before.masks}
    fresh = [each for each in segments if each not in masks]
    hidden = _repeated_keys(fresh)
    for position, segment in enumerate(fresh):
        for other in (*masks, *fresh[:position]):
            _hide_older(hidden, segment, other)
    newest = max(tombstones.values(), default=-1)
    for segment in fresh:
        hide_deleted(hidden, segment, tombstones)
    if tombstones_version != before.tombstones_version:
        recent = {key: seq for key, seq in tombstones.items() if seq > before.newest_tombstone}
        for segment in masks:
            hide_deleted(hidden, segment, recent)
    masks.update(dict.fromkeys(fresh))
    return LiveRows(tuple(segments), tombstones_version, newest, hide(masks, hidden))


def hide(masks: Mapping[Segment, Mask | None], hidden: Hidden) -> dict[Segment, Mask | None]:
    """Take rows out of masks; those that change are copied."""
    result = dict(masks)
    for segment, rows in hidden.items():
        if rows:
            mask = result[segment]
            mask = np.ones(segment.num_rows, dtype=bool) if mask is None else mask.copy()
            mask[list(rows)] = False
            result[segment] = mask
    return result


def hide_deleted(hidden: Hidden, segment: Segment, deletions: Mapping[Any, int]) -> None:
    """Note the rows of a segment that are older than a deletion of their key."""
    places = places_of(segment)
    for key in deletions.keys() & places.keys():
        if deletions[key] > segment.seqs[places[key]]:
            hidden.setdefault(segment, set()).add(places[key])


def _has_lost_rows(before: LiveRows, segments: Iterable[Segment]) -> bool:
    # A merge leaves the live rows of its segments in another one. If a partition's segments went
    # without a successor, rows that they made obsolete in other partitions are live again.
    now = set(segments)
    lost = {each.partition for each in before.segments if each not in now}
    return not lost <= {each.partition for each in now if each not in before.masks}


def _repeated_keys(fresh: Iterable[Segment]) -> Hidden:
    hidden: Hidden = {}
    for segment in fresh:
        if len(segment.pk_to_row) != len(segment.pks):
            places = places_of(segment)
            hidden[segment] = {
                row
                for row, key in enumerate(segment.pks)
                if segment.seqs[row] < segment.seqs[places[key]]
            }
    return hidden


def _hide_older(hidden: Hidden, one: Segment, other: Segment) -> None:
    ours, theirs = places_of(one), places_of(other)
    for key in ours.keys() & theirs.keys():
        difference = int(one.seqs[ours[key]]) - int(other.seqs[theirs[key]])
        if difference > 0:
            hidden.setdefault(other, set()).add(theirs[key])
        elif difference < 0:
            hidden.setdefault(one, set()).add(ours[key])
