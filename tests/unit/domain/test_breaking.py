"""The circuit breaker, step by step."""

from __future__ import annotations

from milvane.domain.breaking import (
    Breaker,
    BreakerLimits,
    Outcome,
    admit,
    is_admitted,
    settle,
)

LIMITS = BreakerLimits(max_failures=2, open_s=10.0)


def opened() -> Breaker:
    """Open a breaker at the time 100."""
    breaker = Breaker()
    for _ in range(2):
        breaker = settle(breaker, Outcome.SICK, LIMITS, now=100.0)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    """A success between them starts the count anew."""
    once = settle(Breaker(), Outcome.SICK, LIMITS, now=0.0)
    again = settle(once, Outcome.HEALTHY, LIMITS, now=0.0)
    assert is_admitted(settle(again, Outcome.SICK, LIMITS, now=0.0), LIMITS, now=0.0)
    assert not is_admitted(settle(once, Outcome.SICK, LIMITS, now=0.0), LIMITS, now=0.0)


def test_open_breaker_waits_and_lets_one_through() -> None:
    """The time is up exactly at its end, and one request finds out for all."""
    assert not is_admitted(opened(), LIMITS, now=109.9)
    assert is_admitted(opened(), LIMITS, now=110.0)
    probing = admit(opened(), LIMITS)
    assert not is_admitted(probing, LIMITS, now=200.0)


def test_probe_decides() -> None:
    """Its success closes the breaker, its failure opens it for another while."""
    probing = admit(opened(), LIMITS)
    assert settle(probing, Outcome.HEALTHY, LIMITS, now=110.0) == Breaker()
    failed = settle(probing, Outcome.SICK, LIMITS, now=110.0)
    assert not is_admitted(failed, LIMITS, now=119.9)
    assert is_admitted(failed, LIMITS, now=120.0)


def test_probe_that_nobody_waited_for_makes_room_for_another() -> None:
    """A caller that leaves does not close the way for good."""
    left = settle(admit(opened(), LIMITS), Outcome.UNKNOWN, LIMITS, now=111.0)
    assert is_admitted(left, LIMITS, now=111.0)


def test_requests_of_a_closed_breaker_are_no_probes() -> None:
    """Many may be under way at once."""
    assert is_admitted(admit(Breaker(), LIMITS), LIMITS, now=0.0)
