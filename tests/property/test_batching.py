"""Which pending inputs run together, whatever is pending."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milvane.domain.models import Lane
from milvane.inference.batching import (
    _PASS_COST_TOKENS,
    MAX_OVERTAKES,
    MIN_SHARE_TOKENS,
    cannot_finish,
    choose_lane,
    computed_tokens,
    interleave,
    is_admitted,
    pass_budget,
    pass_cost,
    plan_pass,
    retry_after_s,
    round_up,
)

BUDGET = 64

lengths = st.lists(st.integers(1, 80), max_size=24)
budgets = st.integers(1, 128)


def cost_of(chosen: list[int], *, packs: bool) -> float:
    """What a pass over inputs of these lengths costs."""
    return pass_cost(sum(chosen), len(chosen), max(chosen), packs=packs)


def worth(chosen: list[int], *, packs: bool) -> float:
    """Real tokens per cost."""
    return sum(chosen) / (cost_of(chosen, packs=packs) + _PASS_COST_TOKENS)


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=24))
@example([1])
@example([1000, 1])  # packed, the padding of a long row costs nearly as much as its tokens
@example([2000, 1])
def test_cost_lies_between_real_and_padded_tokens(lengths: list[int]) -> None:
    """Padding costs all of its tokens, or the less of them the shorter the rows are."""
    padded = len(lengths) * round_up(max(lengths))
    assert cost_of(lengths, packs=False) == padded == computed_tokens(lengths, packs=False)
    cost = cost_of(lengths, packs=True)
    assert sum(lengths) <= cost <= padded
    share = round_up(max(lengths)) / 1024
    assert cost == pytest.approx(sum(lengths) + min(1, share) * (padded - sum(lengths)))
    assert sum(lengths) <= computed_tokens(lengths, packs=True) < sum(lengths) + 16


@given(lengths, budgets, st.booleans())
@example([16, 16, 16, 16], BUDGET, False)  # an exact fit is a fit
@example([16, 16, 16, 16, 16], BUDGET, False)  # and one more is not
@example([16, 16, 16, 16], BUDGET, True)
@example([16, 16, 16, 16, 16], BUDGET, True)
@example([65], BUDGET, False)  # too long for any pass
@example([65], BUDGET, True)
@example([64, 1], BUDGET, False)
@example([], BUDGET, False)
def test_pass_holds_the_oldest_and_keeps_the_limit(
    lengths: list[int], budget: int, packs: bool
) -> None:
    """The oldest always runs; two or more inputs never exceed the limit."""
    chosen = plan_pass(lengths, budget, packs=packs)
    assert bool(chosen) == bool(lengths)
    assert len(set(chosen)) == len(chosen)
    if lengths:
        assert 0 in chosen
        assert len(chosen) == 1 or cost_of([lengths[i] for i in chosen], packs=packs) <= budget


@given(lengths, budgets, st.booleans())
@example([8, 8, 8], 16, False)
@example([16, 12, 12, 12], 48, False)  # two of three equal, shorter ones fit
@example([8, 4, 4, 4, 12, 12], 32, False)
def test_pass_is_a_run_of_neighbours_in_length_and_older_ones_first(
    lengths: list[int], budget: int, packs: bool
) -> None:
    """No input is passed over for one further from the oldest in length, or younger and equal."""
    chosen = set(plan_pass(lengths, budget, packs=packs))
    left = set(range(len(lengths))) - chosen
    if not chosen:
        return
    shortest = min(lengths[i] for i in chosen)
    longest = max(lengths[i] for i in chosen)
    for i in left:
        assert not shortest < lengths[i] < longest
        assert all(j < i for j in chosen if lengths[j] == lengths[i])


@given(lengths, budgets, st.booleans())
@example([32, 32], 64, False)
@example([16, 12, 12, 12], BUDGET, False)  # shorter ones make it an exact fit
@example([80, 4, 4, 4], 400, False)  # short ones would cost more than they bring
@example([80, 4, 4, 4], 400, True)  # and packed they do not
@example([4, 4, 4, 80], 400, False)
@example([20, 21], 64, False)  # a step of rounding apart
def test_pass_is_worth_most_of_all_that_fit(lengths: list[int], budget: int, packs: bool) -> None:
    """No other run of neighbours in length with the oldest in it computes more for its cost."""
    if not lengths:
        return
    chosen = [lengths[i] for i in plan_pass(lengths, budget, packs=packs)]
    ordered = sorted(lengths)
    oldest = ordered.index(lengths[0])  # before its equals
    runs = [
        ordered[first : last + 1]
        for first in range(oldest + 1)
        for last in range(oldest, len(ordered))
    ]
    fitting = [run for run in runs if len(run) == 1 or cost_of(run, packs=packs) <= budget]
    best = max(worth(run, packs=packs) for run in fitting)
    assert worth(chosen, packs=packs) >= best - 1e-9


@given(st.lists(st.booleans(), max_size=60))
@example([True] * (MAX_OVERTAKES + 1))
@example([True] * (3 * MAX_OVERTAKES + 3))
def test_bulk_is_overtaken_a_bounded_number_of_times(interactive_waits: list[bool]) -> None:
    """While bulk work waits, every few passes serve it; until then, interactive work goes first."""
    overtakes = 0
    for waits in interactive_waits:
        lane = choose_lane(interactive_waits=waits, bulk_waits=True, overtakes=overtakes)
        assert lane is (Lane.INTERACTIVE if waits and overtakes < MAX_OVERTAKES else Lane.BULK)
        overtakes = overtakes + 1 if lane is Lane.INTERACTIVE else 0
        assert overtakes <= MAX_OVERTAKES


@given(st.integers(0, 100))
def test_lane_is_chosen_only_if_something_waits_in_it(overtakes: int) -> None:
    """An empty lane is never served, however often the other was overtaken."""

    def chosen(*, interactive: bool, bulk: bool) -> Lane | None:
        return choose_lane(interactive_waits=interactive, bulk_waits=bulk, overtakes=overtakes)

    assert chosen(interactive=False, bulk=False) is None
    assert chosen(interactive=True, bulk=False) is Lane.INTERACTIVE
    assert chosen(interactive=False, bulk=True) is Lane.BULK


@given(
    st.integers(1, 5000),
    st.integers(0, 5000),
    st.integers(1, 64),
    st.integers(MIN_SHARE_TOKENS, 1024),
)
@example(512, 0, 1, 512)
@example(513, 0, 2, 512)
@example(200, 200, 2, 512)  # as much runs as waits: all that waits may go
@example(300, 100, 2, 512)  # more waits: what is too much for one slot is left for the other
@example(1200, 0, 2, 512)  # two rounds of 300 each, not 512 twice and a rest
@example(MIN_SHARE_TOKENS - 1, 0, 1, 512)
def test_budget_is_an_equal_share_of_all_work(
    pending: int, running: int, slots: int, limit: int
) -> None:
    """In as few rounds as can hold all work, slots have the same; a share is never tiny."""
    budget = pass_budget(pending, running, slots=slots, max_pass_tokens=limit)
    work, rounds = pending + running, 1
    while rounds * slots * limit < work:
        rounds += 1
    assert MIN_SHARE_TOKENS <= budget <= limit
    assert budget * slots * rounds >= work
    assert budget == MIN_SHARE_TOKENS or (budget - 1) * slots * rounds < work


@given(st.integers(1, 600))
@example(64)
@example(65)
@example(128)
@example(129)
def test_rounding_never_cuts_and_adds_little(tokens: int) -> None:
    """A rounded length holds the real one, grows with it, and is at most 15 tokens longer."""
    rounded = round_up(tokens)
    assert tokens <= rounded < tokens + 16
    assert round_up(rounded) == rounded
    assert round_up(tokens + 1) >= rounded


def test_shapes_are_few() -> None:
    """All lengths of a window round to a few dozen."""
    rounded = {round_up(tokens) for tokens in range(1, 257)}
    assert len(rounded) == 32
    assert max(b - a for a, b in pairwise(sorted(rounded))) == 16


@given(st.integers(1, 10**7), st.integers(1, 10**6), st.floats(0, 10**6))
@example(1000, 1000, 0.0)  # nothing measured yet
@example(1000, 1000, 100.0)
def test_refused_callers_come_back_in_time(pending: int, limit: int, rate: float) -> None:
    """A caller is told between one second and one minute, more if the queue drains more slowly."""
    wait_s = retry_after_s(pending, limit, rate)
    assert 1 <= wait_s <= 60
    assert rate == 0 or wait_s >= retry_after_s(pending, limit, rate * 2)


def test_refused_callers_come_back_when_half_is_left() -> None:
    """At 100 tokens a second, 500 of 1,000 are gone in 5 seconds; before any pass nobody knows."""
    assert retry_after_s(1000, 1000, 100.0) == 5.0
    assert retry_after_s(1000, 1000, 0.0) == retry_after_s(501, 1000, 100.0) == 1.0


@pytest.mark.parametrize(("waiting", "packs"), [(256, False), (256, True), (32, True)])
def test_padding_stays_small_on_skewed_lengths(waiting: int, packs: bool) -> None:
    """Of a long-tailed stream, less than a tenth of what is computed is padding."""
    draw = random.Random(1)
    stream = [min(254, 3 + int(draw.lognormvariate(3.3, 1.0))) for _ in range(3000)]
    front, real, padded = [], 0, 0
    while stream or front:
        while stream and len(front) < waiting:
            front.append(stream.pop())
        chosen = plan_pass(front, 512, packs=packs)
        real += sum(front[i] for i in chosen)
        padded += computed_tokens([front[i] for i in chosen], packs=packs)
        front = [length for i, length in enumerate(front) if i not in chosen]
    assert padded / real < 1.1


queues = st.lists(
    st.tuples(st.lists(st.integers(1, 40), max_size=8), st.integers(0, 100)), max_size=5
)


@given(queues, st.integers(0, 30))
@example([([5, 5], 0), ([5, 5], 0)], 4)
@example([([5, 5], 10), ([5, 5, 5, 5], 0)], 6)
@example([([9], 0), ([], 0), ([3, 3, 3, 3], 0)], 5)
def test_fair_order_begins_with_whoever_was_served_least(
    queues: list[tuple[list[int], int]], limit: int
) -> None:
    """At each place stands the oldest input left of a tenant for which least was computed."""
    lengths, served = [own for own, _ in queues], [tokens for _, tokens in queues]
    order = interleave(lengths, served, limit)
    assert len(order) == min(limit, sum(map(len, lengths)))
    tokens, next_of = list(served), [0] * len(queues)
    for tenant, position in order:
        assert position == next_of[tenant]
        waiting = [i for i, own in enumerate(lengths) if next_of[i] < len(own)]
        assert tokens[tenant] == min(tokens[i] for i in waiting)
        tokens[tenant] += lengths[tenant][position]
        next_of[tenant] += 1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=40), st.integers(1, 100)
)
@example([(0, 100)], 100)  # as much as the limit is full
@example([(0, 99)], 100)
@example([(0, 100), (1, 49), (1, 1)], 100)  # a share is half, and has room below it
@example([(0, 100), (1, 50), (1, 1)], 100)
def test_lane_is_full_for_those_who_filled_it(arrivals: list[tuple[int, int]], limit: int) -> None:
    """A tenant with less than its share is admitted; all together stay within twice the limit."""
    waiting: dict[int, int] = {}
    largest = 0
    for tenant, size in arrivals:
        tenants = len(waiting) + (tenant not in waiting)
        own, before = waiting.get(tenant, 0), sum(waiting.values())
        admitted = is_admitted(before, own, tenants, limit)
        assert admitted == (before < limit or own < limit / tenants)
        if admitted and size:
            waiting[tenant] = own + size
            largest = max(largest, size)
            assert sum(waiting.values()) < 2 * limit + 4 * largest


def test_lane_is_full_at_its_limit_and_not_before() -> None:
    """So is a tenant's share of a full lane."""
    assert is_admitted(99, 99, 1, 100)
    assert not is_admitted(100, 100, 1, 100)
    assert is_admitted(100, 49, 2, 100)
    assert not is_admitted(100, 50, 2, 100)


@given(st.integers(0, 5000), st.floats(-1, 10), st.floats(0, 5000))
@example(100, 1.0, 50.0)  # twice the rate would just do
@example(101, 1.0, 50.0)
@example(1, 0.0, 0.0)
@example(1, 1.0, 0.0)  # nothing is certain before the first pass
def test_work_is_hopeless_only_if_certain(tokens: int, time_left_s: float, rate: float) -> None:
    """Nothing is given up that twice the best rate would finish in time."""
    hopeless = cannot_finish(tokens, time_left_s, rate)
    assert hopeless == (time_left_s <= 0 or (rate > 0 and tokens > rate * 2 * time_left_s > 0))
