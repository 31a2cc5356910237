from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from milvane.instances.lite.audit import (
    Account,
    Difference,
    Evidence,
    SegmentState,
    compare,
    count_lost,
    open_account,
)
from milvane.instances.lite.journal import CollectionKey


def numbers(*values: int) -> np.ndarray:
    """Write sequence numbers as the audit reads them."""
    return np.array(values, dtype=np.int64)


WHOLE = Evidence(
    key=CollectionKey("default", "rows"),
    manifest_version=7,
    committed_seq=10,
    segments=(
        SegmentState("_default", "data/a.parquet", 6),
        SegmentState("p", "data/b.parquet", 4),
    ),
    doubled=0,
    logged_rows=numbers(11, 12, 14),
    logged_tombstones=numbers(13, 13),
)
ACCOUNT = Account(
    base_seq=10,
    acknowledged_seq=14,
    rows=3,
    tombstones=2,
    manifest_version=7,
    segment_rows=10,
)


def test_collection_as_it_should_be_is_not_mentioned() -> None:
    """Silence means that all is well, also without an account."""
    assert compare(ACCOUNT, WHOLE) == []
    assert compare(None, WHOLE) == []


@pytest.mark.parametrize(
    ("evidence", "difference", "count"),
    [
        (replace(WHOLE, logged_rows=numbers(11, 12)), Difference.LOST, 1),
        (replace(WHOLE, logged_tombstones=numbers()), Difference.LOST, 2),
        (replace(WHOLE, committed_seq=8, manifest_version=6), Difference.LOST, 2),
        (replace(WHOLE, committed_seq=12, logged_rows=numbers(13)), Difference.LOST, 1),
        (replace(WHOLE, logged_rows=numbers(10, 11, 12)), Difference.LOST, 1),
        (replace(WHOLE, doubled=3), Difference.DOUBLED, 3),
        (replace(WHOLE, logged_rows=numbers(9, 10, 11, 12, 14)), Difference.STALE, 2),
        (
            replace(WHOLE, segments=(*WHOLE.segments[:1], SegmentState("p", "data/b", None))),
            Difference.UNREADABLE,
            0,
        ),
        (replace(WHOLE, segments=WHOLE.segments[:1]), Difference.MISCOUNTED, 4),
        (replace(WHOLE, is_fallback=True), Difference.FALLBACK, 0),
    ],
)
def test_each_difference_is_named_and_counted(
    evidence: Evidence, difference: Difference, count: int
) -> None:
    """Every kind of damage has its own words, with numbers."""
    findings = {each.difference: each for each in compare(ACCOUNT, evidence)}
    assert findings[difference].count == count
    assert findings[difference].message.startswith("collection rows: ")


def test_unheard_move_to_disk_is_no_loss() -> None:
    """A death right after a move to disk leaves an account that is behind the manifest."""
    moved = replace(
        WHOLE, manifest_version=8, committed_seq=14, logged_rows=numbers(), segments=WHOLE.segments
    )
    assert compare(ACCOUNT, moved) == []


def test_new_account_counts_what_is_there() -> None:
    """Rows that nobody acknowledged count from the next start on: they are there to stay."""
    logged = replace(WHOLE, logged_rows=numbers(11, 12, 14, 15))
    opened = open_account(ACCOUNT, logged)
    assert opened == replace(ACCOUNT, acknowledged_seq=15, rows=4)
    assert count_lost(opened, logged) == 0


def test_losses_of_several_starts_add_up() -> None:
    """What is missing now comes on top of what was missing before."""
    before = replace(ACCOUNT, lost=5)
    opened = open_account(before, replace(WHOLE, logged_rows=numbers(11, 12)))
    assert opened.lost == 6
