"""Rates: a bucket of tokens for each caller and each thing asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvane.apis.rates import Rate, RateLimiter
from milvane.domain.callers import Caller
from milvane.domain.errors import RateExceeded
from milvane.serving.callers import calling

TEN_PER_S, HUNDRED_A_MINUTE = Rate(10), Rate(100, 60)


class Clock:
    """A clock that goes when told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """Say the time."""
        return self.now_s


def admitted(limiter: RateLimiter, rate: Rate, requests: int, what: str = "a") -> int:
    """Count how many of some requests at once pass."""
    passed = 0
    for _ in range(requests):
        try:
            limiter.admit(what, rate)
        except RateExceeded:
            continue
        passed += 1
    return passed


def test_burst_of_a_period_passes_and_no_more() -> None:
    """Each thing has its own bucket, and each tenant its own buckets."""
    limiter = RateLimiter(Clock())
    assert admitted(limiter, TEN_PER_S, 30) == 10
    assert admitted(limiter, HUNDRED_A_MINUTE, 190, "b") == 100
    with calling(Caller(name="another", tenant="another")):
        assert admitted(limiter, TEN_PER_S, 30) == 10


def test_bucket_fills_with_time_and_never_above_a_second() -> None:
    """A tenth of a second is worth a tenth of the rate; an hour of silence is worth a second."""
    clock = Clock()
    limiter = RateLimiter(clock)
    admitted(limiter, TEN_PER_S, 10)
    clock.now_s += 0.25
    assert admitted(limiter, TEN_PER_S, 10) == 2
    clock.now_s += 3_600
    assert admitted(limiter, TEN_PER_S, 30) == 10


def test_refusal_says_when_to_come_back() -> None:
    """A request at that time passes."""
    clock = Clock()
    limiter = RateLimiter(clock)
    admitted(limiter, TEN_PER_S, 10)
    with pytest.raises(RateExceeded) as refusal:
        limiter.admit("a", TEN_PER_S)
    assert 0 < refusal.value.retry_after_s <= 0.1
    clock.now_s += refusal.value.retry_after_s + 1e-9
    limiter.admit("a", TEN_PER_S)


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=120))
def test_no_time_has_more_than_its_rate(pauses_s: list[float]) -> None:
    """From any moment on, no more pass than the rate times the time, and one second's worth."""
    clock = Clock()
    limiter = RateLimiter(clock)
    passed_at_s = []
    for pause_s in pauses_s:
        clock.now_s += pause_s
        passed_at_s += [clock.now_s] * admitted(limiter, TEN_PER_S, 3)
    for first, start_s in enumerate(passed_at_s):
        for last in range(first, len(passed_at_s)):
            assert last - first + 1 <= 10 * (passed_at_s[last] - start_s) + 10 + 1e-6
