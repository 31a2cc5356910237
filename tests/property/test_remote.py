"""Which replica is asked, and when a second one is, whatever happened before."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.domain.breaking import Breaker, BreakerLimits
from milvane.inference.remote.balancing import (
    GRACE_S,
    BalancingLimits,
    Condition,
    ReplicaState,
    choose,
    condition_of,
    is_usable,
    wait_s,
)
from milvane.inference.remote.hedging import (
    KEPT,
    LEAST_SAMPLES,
    MOST_SAVED,
    HedgeBudget,
    Latencies,
)

NOW = 100.0
LIMITS = BalancingLimits(max_concurrent=3, breaker=BreakerLimits(max_failures=2, open_s=5))

around_now = st.sampled_from([NOW - 10, NOW - GRACE_S, NOW - 0.5, NOW, NOW + 0.5, NOW + 10])
replicas = st.lists(
    st.builds(
        ReplicaState,
        is_trusted=st.booleans(),
        lost_at=st.sampled_from([NOW - 10, NOW - GRACE_S, NOW - 0.5, NOW]),
        outstanding=st.integers(0, 4),
        last_asked=st.integers(0, 9),
        not_before=around_now,
        breaker=st.builds(
            Breaker, failures=st.integers(0, 2), retry_at=around_now, is_probing=st.booleans()
        ),
    ),
    max_size=5,
)
FREE = ReplicaState(is_trusted=True)


@given(replicas, st.sets(st.integers(0, 4)))
@example([FREE, ReplicaState(is_trusted=True, not_before=NOW)], {0})  # its pause is over: asked
@example([ReplicaState(is_trusted=True, outstanding=3)], set())  # as many as it may have: full
def test_chosen_replica_may_be_asked_and_has_least_to_do(
    states: list[ReplicaState], avoid: set[int]
) -> None:
    """Nobody is asked who may not be, and no other replica that may has less to do."""
    free = {
        position
        for position, state in enumerate(states)
        if position not in avoid
        and is_usable(state, LIMITS, now=NOW)
        and state.outstanding < LIMITS.max_concurrent
    }
    chosen = choose(states, LIMITS, now=NOW, avoid=avoid)
    assert (chosen is None) == (not free)
    if chosen is None:
        return
    assert chosen in free
    mine = (states[chosen].outstanding, states[chosen].last_asked)
    assert all(mine <= (states[at].outstanding, states[at].last_asked) for at in free)


@given(replicas)
@example([ReplicaState(is_trusted=True, not_before=NOW)])
@example([ReplicaState(is_trusted=True, breaker=Breaker(2, NOW))])
@example([ReplicaState(is_trusted=True, breaker=Breaker(2, NOW, is_probing=True))])
def test_usable_replica_is_trusted_rested_and_not_broken(states: list[ReplicaState]) -> None:
    """A replica is asked only if nothing speaks against it."""
    for state in states:
        is_broken = state.breaker.failures >= 2 and (
            state.breaker.retry_at > NOW or state.breaker.is_probing
        )
        expected = state.is_trusted and state.not_before <= NOW and not is_broken
        assert is_usable(state, LIMITS, now=NOW) == expected


@given(replicas)
@example([ReplicaState(is_trusted=True, not_before=NOW)])
@example([ReplicaState(is_trusted=True, breaker=Breaker(2, NOW))])
@example([ReplicaState(is_trusted=True, breaker=Breaker(2, NOW, is_probing=True))])
@example([ReplicaState(is_trusted=True, breaker=Breaker(2, NOW + 1), not_before=NOW + 1)])
def test_condition_says_who_may_be_asked(states: list[ReplicaState]) -> None:
    """Ready is asked, on trial only once; whoever is lost, broken or resting is not."""
    for state in states:
        condition = condition_of(state, LIMITS, now=NOW)
        on_trial = condition is Condition.ON_TRIAL and not state.breaker.is_probing
        assert is_usable(state, LIMITS, now=NOW) == (condition is Condition.READY or on_trial)
        assert (condition is Condition.LOST) == (not state.is_trusted)
        assert condition is not Condition.BROKEN or state.breaker.retry_at > NOW


@given(replicas)
@example([ReplicaState(lost_at=NOW - GRACE_S)])  # the grace is over to the moment
@example([ReplicaState(is_trusted=True, not_before=NOW + 1)])
def test_waiting_is_worth_it_or_not(states: list[ReplicaState]) -> None:
    """A wait is above 0 and ends when something may have changed; there is none if all is lost."""
    wait = wait_s(states, LIMITS, now=NOW)
    if wait is None:
        assert not any(is_usable(state, LIMITS, now=NOW) for state in states)
        assert not any(not s.is_trusted and s.lost_at > NOW - GRACE_S for s in states)
    elif wait == float("inf"):
        assert any(is_usable(state, LIMITS, now=NOW) for state in states)
    else:
        assert wait > 0
        pauses = {state.not_before - NOW for state in states}
        graces = {state.lost_at + GRACE_S - NOW for state in states}
        assert wait in pauses | graces


def test_wait_ends_with_the_first_that_may_be_asked() -> None:
    """Of several pauses the shortest is waited for."""
    states = [ReplicaState(is_trusted=True, not_before=NOW + wait) for wait in (7, 2, 9)]
    assert wait_s(states, LIMITS, now=NOW) == 2


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.integers(1, 200))
@example([0] * 40, 60)
def test_equal_replicas_take_turns(busy: list[int], requests: int) -> None:
    """Replicas that answer at once get the same number of requests, give or take one."""
    states = [FREE] * (len(busy) % 4 + 1)
    asked = [0] * len(states)
    for turn in range(1, requests + 1):
        at = choose(states, LIMITS, now=NOW)
        assert at is not None
        asked[at] += 1
        states[at] = ReplicaState(is_trusted=True, last_asked=turn)
    assert max(asked) - min(asked) <= 1


@given(st.floats(0, 1), st.lists(st.booleans(), max_size=400))
@example(0.05, [True] * 400)
@example(1.0, [True, True])
@example(0.0, [True] * 9)
def test_hedges_stay_within_their_share(share: float, wants: list[bool]) -> None:
    """However often one is wanted, hedges are at most the share of all requests."""
    budget, hedges = HedgeBudget(share), 0
    for requests, wanted in enumerate(wants, start=1):
        budget.note_request()
        hedges += wanted and budget.take()
        assert hedges <= share * requests + 1e-6


def test_share_is_used_up() -> None:
    """When every request is slow, as many are hedged as may be."""
    budget = HedgeBudget(0.05)
    hedges = 0
    for _ in range(400):
        budget.note_request()
        hedges += budget.take()
    assert hedges == 20


def test_calm_time_saves_up_no_storm() -> None:
    """After a long time without any, only a few hedges come at once."""
    budget = HedgeBudget(0.5)
    for _ in range(1000):
        budget.note_request()
    assert sum(budget.take() for _ in range(1000)) == MOST_SAVED


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=KEPT), st.integers(1, 100_000))
@example([1.0] * (LEAST_SAMPLES - 1), 64)
@example([1.0] * LEAST_SAMPLES, 64)
def test_slow_is_what_few_are(latencies: list[float], tokens: int) -> None:
    """Nothing is slow before enough is known; then at most one of twenty took longer."""
    known = Latencies()
    for elapsed_s in latencies:
        known.add(tokens, elapsed_s)
    slow_s = known.slow_s(tokens)
    assert (slow_s is None) == (len(latencies) < LEAST_SAMPLES)
    if slow_s is not None:
        assert slow_s in latencies
        assert sum(elapsed_s > slow_s for elapsed_s in latencies) <= 0.05 * len(latencies)
        assert sum(elapsed_s >= slow_s for elapsed_s in latencies) >= 0.05 * len(latencies) - 1


def test_large_requests_are_compared_with_large_ones() -> None:
    """What is slow for ten tokens is not for ten thousand, and old times are forgotten."""
    known = Latencies()
    for _ in range(LEAST_SAMPLES):
        known.add(10, 0.01)
        known.add(10_000, 5.0)
    assert (known.slow_s(12), known.slow_s(9_000)) == (0.01, 5.0)
    for _ in range(KEPT):
        known.add(10, 0.5)
    assert known.slow_s(10) == 0.5
