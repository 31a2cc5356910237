"""
Which segments are merged, and which get a graph, one step after the other. Pure.

Adding a row to a graph takes a hundred times as long as writing it to a file. So the segment that
has a graph is the base of a merge: its graph is copied, and only the rows that join it are added.
Rows without a graph are compared with every query: they come first, and in steps small enough that
those that come in meanwhile do not wait for long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_GROWTH = 4
"""A base takes in at least a fourth of its rows: otherwise it would be written too often."""
_STEP_ROWS = 16_384
"""Rows that one step adds to a graph, unless a single segment or half the base has more."""
_SMALL_SEGMENTS = 4
"""So many segments without a graph are merged, however few rows they have."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment of a partition."""

    name: str
    rows: int
    is_settled: bool
    """Whether it has its graph, or none is wanted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What segments are made of."""

    index_min_rows: int
    """From how many rows on a segment gets a graph."""
    max_rows: int
    """Of a merged segment."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments that one is to be made of."""

    base: str | None
    """Whose graph is extended, if there is one."""
    others: tuple[str, ...]
    """The oldest first."""


@dataclass(frozen=True, slots=True)
class Build:
    """A segment that is to get a graph as it is."""

    name: str


def plan_step(pieces: Sequence[Piece], limits: Limits) -> Merge | Build | None:
    """
    Choose what is done next in a partition.

    Args:
        pieces: Its segments, the oldest first.

        limits: For segments.

    Returns:
        A step, or nothing if all is well: then fewer rows than get a graph are without one.
    """
    loose = [each for each in pieces if not each.is_settled and each.rows <= _STEP_ROWS]
    settled = sorted((each for each in pieces if each.is_settled), key=lambda each: -each.rows)
    waiting = sum(each.rows for each in loose)
    for base in settled:
        smaller = [each for each in pieces if each in loose or _is_after(each, base, settled)]
        joining = _fitting(smaller, limits.max_rows - base.rows, base.rows // 2)
        if joining and _GROWTH * sum(each.rows for each in joining) >= base.rows:
            return Merge(base.name, _names(joining))
    if waiting >= limits.index_min_rows:
        return _settle(loose, settled, limits)
    few = _fitting(loose, limits.max_rows)
    if len(loose) >= _SMALL_SEGMENTS and len(few) > 1:
        return Merge(None, _names(few))
    bare = [each for each in pieces if not each.is_settled and each.rows > _STEP_ROWS]
    return Build(min(bare, key=lambda each: each.rows).name) if bare else None


def _is_after(piece: Piece, base: Piece, order: Sequence[Piece]) -> bool:
    return piece in order and order.index(piece) > order.index(base)


def _settle(loose: Sequence[Piece], settled: Sequence[Piece], limits: Limits) -> Merge | Build:
    if settled and settled[-1].rows <= _STEP_ROWS:
        joining = _fitting(loose, limits.max_rows - settled[-1].rows)
        if joining:
            return Merge(settled[-1].name, _names(joining))
    joining = _fitting(loose, limits.max_rows)
    if len(joining) > 1:
        return Merge(None, _names(joining))
    return Build(max(loose, key=lambda each: each.rows).name)


def _fitting(pieces: Sequence[Piece], room: int, at_once: int = 0) -> list[Piece]:
    """Take the oldest pieces for one step."""
    taken: list[Piece] = []
    rows = 0
    for each in pieces:
        rows += each.rows
        if rows > room or (taken and rows > max(_STEP_ROWS, at_once)):
            break
        taken.append(each)
    return taken


def _names(pieces: Sequence[Piece]) -> tuple[str, ...]:
    return tuple(each.name for each in pieces)
