"""
The circuit breaker of one endpoint. Pure: the clock and the requests live with whoever calls.

Closed, requests pass, and failures in a row are counted. Open, requests are refused at once until
some time has passed. Then one request is let through as a probe: its success closes the breaker,
its failure opens it for another while.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Outcome(Enum):
    """How a request ended, as far as the endpoint's health is concerned."""

    HEALTHY = "healthy"
    """It answered, be it with a refusal."""
    SICK = "sick"
    """It did not answer in time, or said that it cannot."""
    UNKNOWN = "unknown"
    """Nobody waited for the end."""


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When a breaker opens, and for how long."""

    max_failures: int
    open_s: float


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one breaker."""

    failures: int = 0
    """In a row; `max_failures` or more mean that it is open."""
    retry_at: float = 0.0
    """On the clock of `now`: until then an open breaker lets nothing through."""
    is_probing: bool = False
    """One request is under way to find out."""


def is_admitted(breaker: Breaker, limits: BreakerLimits, *, now: float) -> bool:
    """Say whether a request may be sent."""
    if breaker.failures < limits.max_failures:
        return True
    return now >= breaker.retry_at and not breaker.is_probing


def admit(breaker: Breaker, limits: BreakerLimits) -> Breaker:
    """Note that an admitted request is sent."""
    if breaker.failures < limits.max_failures:
        return breaker
    return replace(breaker, is_probing=True)


def settle(breaker: Breaker, outcome: Outcome, limits: BreakerLimits, *, now: float) -> Breaker:
    """
    Note how a request ended.

    Requests that were sent before the breaker opened may end while it is open: their success closes
    it as a probe's does, and their failure keeps it open for another while.
    """
    if outcome is Outcome.HEALTHY:
        return Breaker()
    if outcome is Outcome.UNKNOWN:
        return replace(breaker, is_probing=False)
    failures = min(breaker.failures + 1, limits.max_failures)
    return Breaker(failures=failures, retry_at=now + limits.open_s)
