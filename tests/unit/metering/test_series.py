"""Sums into curves."""

from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from milvane.domain.errors import InvalidInput
from milvane.metering.folding import Sums
from milvane.metering.latency import bin_of
from milvane.metering.series import Grouping, UsageQuery, choose_step, draw, effective_step

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
NOW = NOON + timedelta(hours=1)
KEPT_S = {10: 2 * 3600.0, 60: 10 * 3600.0, 3600: 1e9}


def after(seconds: float) -> datetime:
    """Tell an instant."""
    return NOON + timedelta(seconds=seconds)


def query(step_s: int = 10, since_s: float = 0, until_s: float = 60) -> UsageQuery:
    """Ask for a minute from noon, or what is said."""
    return UsageQuery(after(since_s), after(until_s), step_s)


def sums(requests: int, successes: int, tokens: int, duration_s: float = 0.01) -> Sums:
    """Make sums of calls that took alike."""
    return Sums(
        requests=requests,
        successes=successes,
        tokens=tokens,
        duration_us=round(successes * duration_s * 1e6),
        latency=Counter({bin_of(duration_s): successes}),
    )


def test_point_says_what_its_calls_come_to() -> None:
    """Each of the five charts, and the quantiles."""
    [curve] = draw({("", NOON): sums(20, 19, 500)}, {NOON}, query(until_s=10), 10)
    [point] = curve.points
    assert (point.tokens, point.queries_per_s, point.tokens_per_s) == (500, 2.0, 50.0)
    assert point.success_rate == 0.95
    assert point.average_s == pytest.approx(0.01)
    assert point.median_s == pytest.approx(0.01, rel=0.05)
    assert point.p99_s == pytest.approx(0.01, rel=0.05)


def test_what_callers_did_wrong_is_not_the_services_failure() -> None:
    """Refusals are requests, and count neither for nor against it."""
    values = Sums(requests=10, successes=6, refusals=2)
    [curve] = draw({("", NOON): values}, {NOON}, query(until_s=10), 10)
    assert (curve.points[0].requests, curve.points[0].success_rate) == (10, 0.75)
    only = Sums(requests=2, refusals=2)
    [curve] = draw({("", NOON): only}, {NOON}, query(until_s=10), 10)
    assert curve.points[0].success_rate is None


def test_idle_steps_are_zeros_and_missing_ones_are_gaps() -> None:
    """Nobody called is something else than nobody was there."""
    stored = {("", NOON): sums(1, 1, 5)}
    [curve] = draw(stored, {NOON, after(10)}, query(until_s=30), 10)
    assert [point.tokens for point in curve.points] == [5, 0, None]
    assert [point.queries_per_s for point in curve.points] == [0.1, 0.0, None]
    assert [point.success_rate for point in curve.points] == [1.0, None, None]
    assert [point.average_s for point in curve.points][1:] == [None, None]


def test_stored_steps_are_put_together() -> None:
    """Six of ten seconds make a minute; the rates are of the minute."""
    stored = {("", after(10 * number)): sums(6, 6, 60, 0.01 * (number + 1)) for number in range(6)}
    [curve] = draw(stored, set(), query(step_s=60), 10)
    [point] = curve.points
    assert (point.requests, point.tokens, point.queries_per_s) == (36, 360, 0.6)
    assert point.average_s == pytest.approx(0.035)
    assert curve.total.tokens == 360


def test_groups_are_curves_of_their_own() -> None:
    """The one with the most tokens comes first; each has every step."""
    stored = {("a", NOON): sums(1, 1, 5), ("b", after(10)): sums(1, 1, 50)}
    curves = draw(stored, {NOON, after(10)}, query(until_s=20), 10)
    assert [(curve.group, [p.tokens for p in curve.points]) for curve in curves] == [
        ("b", [0, 50]),
        ("a", [5, 0]),
    ]


def test_chart_without_calls_has_one_curve_of_gaps() -> None:
    """A picture of nothing, not no picture; compared groups there are none."""
    [curve] = draw({}, set(), query(until_s=20), 10)
    assert [point.requests for point in curve.points] == [None, None]
    grouped = UsageQuery(NOON, after(20), 10, group_by=Grouping.MODEL)
    assert draw({}, set(), grouped, 10) == []


@pytest.mark.parametrize(
    ("step_s", "since_s", "stored", "width"),
    [
        (10, 0, 10, 10),
        (60, 0, 60, 60),
        (90, 0, 10, 90),
        (3600, 0, 3600, 3600),
        (10, -2 * 3600, 60, 60),
        (90, -2 * 3600, 60, 120),
        (60, -20 * 3600, 3600, 3600),
    ],
)
def test_step_is_as_fine_as_is_still_kept(
    step_s: int, since_s: float, stored: int, width: int
) -> None:
    """The widest stored step that divides the one asked for, else the finest there is."""
    asked = query(step_s=step_s, since_s=since_s)
    assert choose_step(asked, KEPT_S, NOW) == stored
    assert effective_step(asked, stored) == width


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (query(since_s=60, until_s=60), "ends before it begins"),
        (query(step_s=15), "multiple of 10"),
        (query(step_s=0), "multiple of 10"),
        (query(since_s=-3600, until_s=3600 * 100), "choose a wider step"),
    ],
)
def test_senseless_query_is_refused(asked: UsageQuery, message: str) -> None:
    """With the cause and the cure."""
    with pytest.raises(InvalidInput, match=message):
        choose_step(asked, KEPT_S, NOW)
