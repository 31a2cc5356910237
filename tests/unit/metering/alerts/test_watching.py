"""From sums of usage to the number that a rule is about."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from milvane.metering.alerts.rules import Condition, Operator, Watched
from milvane.metering.alerts.watching import query_of, quota_value, value_of
from milvane.metering.folding import Sums
from milvane.metering.latency import bin_of
from milvane.metering.series import draw

NOW = datetime(2026, 1, 1, 12, 0, 37, tzinfo=timezone.utc)


def condition(watched: Watched, **changes: object) -> Condition:
    """Watch a number over half a minute."""
    return Condition(watched, Operator.ABOVE, 1.0, window_s=30, **changes)


def measure(watched: Condition, sums: dict[int, Sums], present: tuple[int, ...]) -> float | None:
    """Say what a window's three steps come to; in those that are present a server was there."""
    query = query_of(watched, NOW)
    steps = [query.since + timedelta(seconds=10 * number) for number in range(3)]
    found = {("", steps[number]): values for number, values in sums.items()}
    curves = draw(found, {steps[number] for number in present}, query, 10)
    return value_of(watched, curves[0], 10)


TEN = Sums(
    requests=10,
    successes=6,
    refusals=2,
    tokens=900,
    duration_us=3_000_000,
    latency=Counter({bin_of(0.5): 6}),
)


@pytest.mark.parametrize(
    ("watched", "expected"),
    [
        (Watched.QUERIES_PER_S, 10 / 30),
        (Watched.TOKENS_PER_S, 30.0),
        (Watched.SUCCESS_RATE, 0.75),
        (Watched.ERROR_SHARE, 0.25),
        (Watched.REFUSED_SHARE, 0.2),
        (Watched.AVERAGE_S, 0.5),
        (Watched.P99_S, 0.5),
    ],
)
def test_window_is_summed_up(watched: Watched, expected: float) -> None:
    """Of everything that ended in it."""
    assert measure(condition(watched), {1: TEN}, (0, 1, 2)) == pytest.approx(expected, rel=0.05)


def test_rates_are_over_the_time_that_a_server_was_there() -> None:
    """A start does not look like a lull."""
    assert measure(condition(Watched.QUERIES_PER_S), {2: TEN}, (2,)) == 1.0


@pytest.mark.parametrize("watched", [each for each in Watched if each is not Watched.QUOTA_SHARE])
def test_nothing_is_said_of_nothing(watched: Watched) -> None:
    """Where no server was, no number; where nobody called, zero calls and no rate of success."""
    assert measure(condition(watched), {}, ()) is None
    is_rate = watched in (Watched.QUERIES_PER_S, Watched.TOKENS_PER_S)
    assert measure(condition(watched), {}, (0, 1, 2)) == (0.0 if is_rate else None)
    assert measure(condition(watched, min_requests=11), {1: TEN}, (0, 1, 2)) is None
    assert measure(condition(watched, min_requests=10), {1: TEN}, (0, 1, 2)) is not None


def test_window_ends_with_the_last_whole_step() -> None:
    """Tens of seconds up to an hour, minutes for longer windows."""
    query = query_of(condition(Watched.P99_S), NOW)
    assert query.until == NOW.replace(second=30)
    assert query.since == NOW.replace(second=0)
    long = query_of(Condition(Watched.P99_S, Operator.ABOVE, 1.0, window_s=7200), NOW)
    assert (long.until, long.step_s) == (NOW.replace(second=0), 60)


def test_fullest_quota_counts() -> None:
    """Of those that are watched; without any there is nothing to say."""
    shares = {"tenant:north": 0.4, "tenant:south": 0.9, "key:key-1": 0.95}
    watch = Condition(Watched.QUOTA_SHARE, Operator.ABOVE, 0.8)
    assert quota_value(watch, shares) == 0.95
    some = Condition(Watched.QUOTA_SHARE, Operator.ABOVE, 0.8, quotas=["tenant:north"])
    assert quota_value(some, shares) == 0.4
    assert quota_value(some, {}) is None
