"""Batches and the circuit breaker, for all inputs."""

from __future__ import annotations

import asyncio
from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from milvane.domain.breaking import (
    Breaker,
    BreakerLimits,
    Outcome,
    admit,
    is_admitted,
    settle,
)
from milvane.providers.batches import run_in_order, split


@given(st.lists(st.integers()), st.integers(1, 40))
@example(list(range(10)), 10)  # an exact fit is one batch
@example(list(range(11)), 10)
@example([], 1)
def test_split_keeps_all_items_in_as_few_batches_as_possible(items: list[int], cap: int) -> None:
    """Joined again they are what they were; none is empty or above the cap."""
    batches = split(items, cap)
    assert [item for batch in batches for item in batch] == items
    assert all(0 < len(batch) <= cap for batch in batches)
    assert len(batches) == -(-len(items) // cap)


@given(st.permutations(list(range(7))), st.integers(1, 9))
@example([6, 5, 4, 3, 2, 1, 0], 7)
def test_results_are_in_order_whatever_ends_first(order: list[int], max_concurrent: int) -> None:
    """Each job waits for its turn in another order; never more run than are allowed."""
    running, most = 0, 0

    async def job(position: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(1 + order[position]):
            await asyncio.sleep(0)
        running -= 1
        return position

    jobs = [partial(job, position) for position in range(7)]
    assert asyncio.run(run_in_order(jobs, max_concurrent=max_concurrent)) == list(range(7))
    assert most == min(max_concurrent, 7)


LIMITS = BreakerLimits(max_failures=3, open_s=10.0)


class BreakerMachine(RuleBasedStateMachine):
    """The breaker beside a naive account of what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.under_way = 0
        self.failures = 0
        self.opened_at = 0.0

    @rule(seconds=st.sampled_from([0.1, 5.0, 10.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        """Let some time go by."""
        self.now += seconds

    @rule()
    def ask(self) -> None:
        """Send a request, if it is let through."""
        if not is_admitted(self.breaker, LIMITS, now=self.now):
            return
        if self.failures >= LIMITS.max_failures:
            assert self.now >= self.opened_at + LIMITS.open_s, (
                "an open breaker lets nothing through"
            )
        self.breaker = admit(self.breaker, LIMITS)
        self.under_way += 1
        if self.failures >= LIMITS.max_failures:
            assert not is_admitted(self.breaker, LIMITS, now=self.now), "one probe at a time"

    @precondition(lambda self: self.under_way)
    @rule(outcome=st.sampled_from(list(Outcome)))
    def end(self, outcome: Outcome) -> None:
        """End one of the requests."""
        self.under_way -= 1
        self.breaker = settle(self.breaker, outcome, LIMITS, now=self.now)
        if outcome is Outcome.HEALTHY:
            self.failures = 0
        elif outcome is Outcome.SICK:
            self.failures += 1
            self.opened_at = self.now

    @invariant()
    def closed_below_the_limit(self) -> None:
        """Fewer failures in a row than the limit stop nobody."""
        if self.failures < LIMITS.max_failures:
            assert is_admitted(self.breaker, LIMITS, now=self.now)

    @invariant()
    def never_stuck(self) -> None:
        """With nothing under way, time alone lets a request through again."""
        if not self.under_way:
            later = self.now + LIMITS.open_s
            assert is_admitted(self.breaker, LIMITS, now=later)


TestBreaker = BreakerMachine.TestCase
