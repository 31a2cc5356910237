from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milvane.instances.lite.audit import Account, Evidence
from milvane.instances.lite.journal import CollectionKey
from milvane.instances.lite.repair import (
    Action,
    Facts,
    FileFacts,
    LogFacts,
    plan_acceptance,
    plan_repair,
)

FOLDER = Path("collections/rows")
LOG = Path("wal/wal_data_000004.arrow")


def numbers(*values: int) -> np.ndarray:
    """Write sequence numbers as a look at the files finds them."""
    return np.array(values, dtype=np.int64)


def file(
    low: int, high: int, *, named: bool = True, readable: bool = True, partition: str = "_default"
) -> FileFacts:
    """Describe a segment with a row for each number."""
    return FileFacts(
        partition,
        Path(f"data/data_{low:06d}_{high:06d}.parquet"),
        is_named=named,
        is_data=True,
        numbers=np.arange(low, high + 1) if readable else None,
        span=(low, high),
    )


EVIDENCE = Evidence(
    key=CollectionKey("default", "rows"),
    manifest_version=3,
    committed_seq=10,
    segments=(),
    doubled=0,
    logged_rows=numbers(11, 12),
    logged_tombstones=numbers(),
)
WHOLE = Facts(
    folder=FOLDER,
    evidence=EVIDENCE,
    account=Account(base_seq=10, acknowledged_seq=12, rows=2),
    logs=(LogFacts(LOG, is_torn=False, numbers=numbers(11, 12)),),
    files=(file(1, 5), file(6, 10)),
)


def actions(facts: Facts) -> list[Action]:
    """Say what is planned."""
    return [step.action for step in plan_repair(facts)]


def test_whole_collection_is_left_alone() -> None:
    """Without damage there is nothing to do."""
    assert actions(WHOLE) == []


@pytest.mark.parametrize(
    ("facts", "planned"),
    [
        (Facts(FOLDER, None), [Action.SET_ASIDE]),
        (replace(WHOLE, drafts=(Path("a.tmp"),)), [Action.REMOVE]),
        (replace(WHOLE, leftover_logs=(LOG,)), [Action.REMOVE]),
        (replace(WHOLE, bad_indexes=(Path("a.idx"),)), [Action.REMOVE]),
        (replace(WHOLE, logs=(LogFacts(LOG, True, numbers(11)),)), [Action.REWRITE_LOG]),
        (replace(WHOLE, logs=(LogFacts(LOG, False, numbers(10, 11)),)), [Action.REWRITE_LOG]),
        (replace(WHOLE, files=(file(1, 5), file(4, 10))), [Action.DROP_ROWS]),
        (replace(WHOLE, files=(file(1, 5), file(2, 5))), [Action.FORGET]),
        (replace(WHOLE, files=(file(1, 5, readable=False),)), [Action.FORGET]),
        (replace(WHOLE, evidence=replace(EVIDENCE, is_fallback=True)), [Action.RENEW_MANIFEST]),
        (
            replace(WHOLE, evidence=replace(EVIDENCE, is_fallback=True, manifest_version=0)),
            [],
        ),
    ],
)
def test_each_damage_has_its_repair(facts: Facts, planned: list[Action]) -> None:
    """One kind of damage leads to one change."""
    assert actions(facts) == planned


def test_unnamed_segment_with_missing_rows_is_taken_back() -> None:
    """Acknowledged rows that nobody else has come back; others are not touched."""
    account = Account(base_seq=20, acknowledged_seq=20)
    lost = replace(WHOLE, account=account, files=(file(1, 10), file(13, 20, named=False)))
    assert actions(lost) == [Action.ADOPT]
    for unwanted in (file(11, 20, named=False), file(13, 21, named=False), file(1, 9, named=False)):
        assert actions(replace(lost, files=(file(1, 10), unwanted))) == []


def test_merged_segment_takes_the_place_of_those_it_was_made_of() -> None:
    """Files that a merge has removed are no loss if the merged one is there."""
    merged = replace(
        WHOLE,
        files=(
            file(1, 5, readable=False),
            file(6, 10, readable=False),
            file(1, 10, named=False),
        ),
    )
    steps = plan_repair(merged)
    assert [step.action for step in steps] == [Action.ADOPT, Action.FORGET, Action.FORGET]
    assert not any(step.needs_consent for step in steps)
    short = replace(merged, files=(*merged.files[:2], file(1, 9, named=False)))
    assert [step.needs_consent for step in plan_repair(short)] == [False, False, True]
    elsewhere = replace(merged, files=(*merged.files[:2], file(1, 10, named=False, partition="p")))
    assert all(step.needs_consent for step in plan_repair(elsewhere))


def test_only_a_loss_needs_to_be_accepted() -> None:
    """What can be repaired asks nobody."""
    assert plan_acceptance(WHOLE.account, EVIDENCE, FOLDER) == []
    (step,) = plan_acceptance(
        WHOLE.account, replace(EVIDENCE, logged_rows=numbers(11), doubled=3), FOLDER
    )
    assert step.needs_consent
    assert "1 acknowledged rows or deletions are missing" in step.reason
