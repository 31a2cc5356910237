"""
Which replica is asked next. Pure: the clock and the requests live in `asking`.

A replica is asked while it is trusted (it was looked at, and gave the vectors that it should), its
breaker lets requests through, and it has not asked to be left alone for a while.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

from milvane.domain.breaking import Breaker, BreakerLimits, is_admitted

GRACE_S = 1.0
"""How long a request waits for a replica that was only just lost: a look takes less."""


@dataclass(frozen=True, slots=True)
class BalancingLimits:
    """What one replica may be sent."""

    max_concurrent: int
    breaker: BreakerLimits


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """How one replica stands."""

    is_trusted: bool = False
    lost_at: float = -GRACE_S
    """When trust was last lost, on the clock of `now`."""
    outstanding: int = 0
    """Requests under way."""
    last_asked: int = 0
    """Grows with each request to any of them: among equals, the longest unasked is next."""
    not_before: float = 0.0
    """Until then it asked to be left alone."""
    breaker: Breaker = field(default_factory=Breaker)


class Condition(Enum):
    """How one replica stands, in a word."""

    READY = "ready"
    """It is asked, as far as it has room."""
    RESTING = "resting"
    """It asked to be left alone for a while."""
    BROKEN = "broken"
    """It failed too often in a row, and is left alone for a while."""
    ON_TRIAL = "on_trial"
    """It was left alone long enough: one request tells how it is now."""
    LOST = "lost"
    """It does not answer, or not as it should."""


def condition_of(state: ReplicaState, limits: BalancingLimits, *, now: float) -> Condition:
    """Say how a replica stands; it may be asked only if it is ready or on trial."""
    if not state.is_trusted:
        return Condition.LOST
    breaker = state.breaker
    is_open = breaker.failures >= limits.breaker.max_failures
    if is_open and now < breaker.retry_at:
        return Condition.BROKEN
    if now < state.not_before:
        return Condition.RESTING
    return Condition.ON_TRIAL if is_open else Condition.READY


def is_usable(state: ReplicaState, limits: BalancingLimits, *, now: float) -> bool:
    """Say whether a replica may be asked, if it has room."""
    return (
        state.is_trusted
        and now >= state.not_before
        and is_admitted(state.breaker, limits.breaker, now=now)
    )


def can_serve(state: ReplicaState, limits: BalancingLimits, *, now: float) -> bool:
    """Say whether a replica is well, be it busy or on trial."""
    breaker = state.breaker
    is_closed = breaker.failures < limits.breaker.max_failures
    return state.is_trusted and (is_closed or now >= breaker.retry_at)


def choose(
    states: Sequence[ReplicaState],
    limits: BalancingLimits,
    *,
    now: float,
    avoid: Collection[int] = (),
) -> int | None:
    """
    Choose the replica with the fewest requests under way.

    Args:
        states: All replicas.

        limits: What one may be sent.

        now: On the clock of the states.

        avoid: Positions of those that are not to be asked.

    Returns:
        Its position; none if nobody may be asked, or has room.
    """
    free = [
        position
        for position, state in enumerate(states)
        if position not in avoid
        and state.outstanding < limits.max_concurrent
        and is_usable(state, limits, now=now)
    ]
    if not free:
        return None
    return min(free, key=lambda at: (states[at].outstanding, states[at].last_asked))


def wait_s(states: Sequence[ReplicaState], limits: BalancingLimits, *, now: float) -> float | None:
    """
    Say how long it is worth to wait when nobody could be chosen.

    Returns:
        Seconds until a replica may be asked that asked to be left alone, or for which the grace
        ends; infinity if one only has no room; none if all are lost.
    """
    waits = []
    for state in states:
        if is_usable(state, limits, now=now):
            return float("inf")
        if state.is_trusted and is_admitted(state.breaker, limits.breaker, now=now):
            waits.append(state.not_before - now)
        elif not state.is_trusted and now < state.lost_at + GRACE_S:
            waits.append(state.lost_at + GRACE_S - now)
    return min(waits, default=None)
