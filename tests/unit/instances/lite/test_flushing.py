from __future__ import annotations

import pytest

from milvane.instances.lite.flushing import (
    FlushPolicy,
    Pending,
    pause_after_failure_s,
    wait_before_flush_s,
)
from milvane.instances.settings import LiteSettings

POLICY = FlushPolicy(max_rows=100, max_bytes=1_000, idle_s=2.0)


@pytest.mark.parametrize(
    ("pending", "since_write_s", "wait_s"),
    [
        (Pending(rows=0, bytes=0), 9.0, None),
        (Pending(rows=100, bytes=1), 0.0, 0.0),
        (Pending(rows=1, bytes=1_000), 0.0, 0.0),
        (Pending(rows=99, bytes=999), 0.5, 1.5),
        (Pending(rows=1, bytes=1), 2.0, 0.0),
        (Pending(rows=1, bytes=1), 5.0, 0.0),
    ],
)
def test_rows_move_by_number_by_size_or_when_nothing_follows(
    pending: Pending, since_write_s: float, wait_s: float | None
) -> None:
    """Rows stay in memory until they are many, large, or alone for a while."""
    assert wait_before_flush_s(pending, since_write_s, POLICY) == wait_s


def test_failed_flush_is_tried_less_and_less_often() -> None:
    """A full disk is not asked all the time, but never given up."""
    pauses_s = [pause_after_failure_s(failures) for failures in range(1, 40)]
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] == 0.5
    assert pauses_s[-1] == 30.0


def test_policy_comes_from_the_settings() -> None:
    """Each limit is the one that the operator set."""
    settings = LiteSettings(flush_max_rows=7, flush_max_bytes=8, flush_idle_s=9)
    assert FlushPolicy.from_settings(settings) == FlushPolicy(7, 8, 9)
