"""Fairness between tenants, whatever they send."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from milvane.inference.batching import round_up
from milvane.inference.lanes import FRONT_INPUTS, LaneQueue

PASS_TOKENS = 64
LONGEST = 60


@dataclass(frozen=True)
class Item:
    """An input that can be told apart."""

    tenant: str
    number: int
    tokens: int


def fill(queue: LaneQueue[Item], tenant: str, lengths: list[int], start: int = 0) -> list[Item]:
    """Let a tenant send inputs."""
    items = [Item(tenant, start + i, tokens) for i, tokens in enumerate(lengths)]
    queue.add(tenant, items)
    return items


lengths = st.lists(st.integers(1, LONGEST), min_size=1, max_size=30)
tenants = st.dictionaries(st.sampled_from("abcd"), lengths, min_size=1)


@given(tenants)
@example({"a": [1] * (FRONT_INPUTS + 5)})
@example({"a": [60, 1, 60], "b": [1] * 30})
def test_everything_is_taken_once(sent: dict[str, list[int]]) -> None:
    """Each input runs in one pass, no pass is empty, and what waits is counted right."""
    queue: LaneQueue[Item] = LaneQueue()
    waiting = {item for name, own in sent.items() for item in fill(queue, name, own)}
    while waiting:
        assert len(queue) == len(waiting) == len(list(queue))
        assert queue.tokens == sum(item.tokens for item in waiting)
        for name in sent:
            own = [item.tokens for item in waiting if item.tenant == name]
            assert queue.own(name) == (len(own), sum(own))
            numbers = [item.number for item in queue if item.tenant == name]
            assert numbers == sorted(numbers), "older ones stay before younger ones"
            others = {item.tenant for item in waiting} - {name}
            assert queue.tenants_with(name) == len(others) + 1
        taken = queue.take(PASS_TOKENS)
        assert taken
        assert len(set(taken)) == len(taken)
        assert waiting >= set(taken)
        waiting -= set(taken)
    assert (len(queue), queue.tokens, queue.take(PASS_TOKENS)) == (0, 0, [])


@given(lengths, st.integers(1, LONGEST), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
@example([1] * 30, 60, 5)
@example([60] * 30, 1, 0)
def test_no_tenant_starves(theirs: list[int], mine: int, head_start: int) -> None:
    """
    However much others keep sending, a tenant's input runs within two passes of its arrival.

    The first of them may belong to a tenant that is served as little.
    """
    queue: LaneQueue[Item] = LaneQueue()
    fill(queue, "many", theirs * 10)
    for _ in range(head_start):
        queue.take(PASS_TOKENS)
        fill(queue, "many", theirs)
    (item,) = fill(queue, "few", [mine])
    taken = [*queue.take(PASS_TOKENS), *queue.take(PASS_TOKENS)]
    assert item in taken


@given(st.dictionaries(st.sampled_from("abc"), st.integers(1, LONGEST), min_size=2))
@settings(max_examples=50, deadline=None)
@example({"a": 1, "b": LONGEST})
@example({"a": LONGEST, "b": LONGEST - 1, "c": 1})
def test_tenants_who_always_wait_get_the_same(sizes: dict[str, int]) -> None:
    """Tokens computed for any two of them never differ by more than two passes hold."""
    queue: LaneQueue[Item] = LaneQueue()
    done = dict.fromkeys(sizes, 0)
    for name, size in sizes.items():
        fill(queue, name, [size] * 2000)
    for _ in range(40):
        for item in queue.take(PASS_TOKENS):
            done[item.tenant] += item.tokens
        assert max(done.values()) - min(done.values()) <= 2 * max(PASS_TOKENS, round_up(LONGEST))


@given(st.integers(1, 200))
@settings(max_examples=20, deadline=None)
@example(200)
def test_having_been_alone_is_not_held_against_anybody(passes: int) -> None:
    """After a tenant was served alone for long, one that comes gets its half, not everything."""
    queue: LaneQueue[Item] = LaneQueue()
    fill(queue, "alone", [64] * (passes + 20))
    for _ in range(passes):
        queue.take(PASS_TOKENS)
    fill(queue, "late", [64] * 20)
    taken = [queue.take(PASS_TOKENS)[0].tenant for _ in range(10)]
    assert taken.count("alone") == taken.count("late") == 5


def test_debts_do_not_go_away_by_leaving() -> None:
    """Who sends one large input at a time, and waits for it, gets no more than the others."""
    queue: LaneQueue[Item] = LaneQueue()
    fill(queue, "steady", [10] * 1000)
    done = {"steady": 0, "leaving": 0}
    for _ in range(200):
        if not queue.own("leaving")[0]:
            fill(queue, "leaving", [60])
        for item in queue.take(16):
            done[item.tenant] += item.tokens
    assert abs(done["steady"] - done["leaving"]) <= 60 + 16


def test_who_comes_is_not_behind_a_debtor() -> None:
    """One tenant's debt delays neither the others nor those who come."""
    queue: LaneQueue[Item] = LaneQueue()
    fill(queue, "debtor", [2000, 64])
    fill(queue, "steady", [64] * 100)
    while queue.own("debtor")[0] == 2:
        queue.take(PASS_TOKENS)
    fill(queue, "late", [64])
    taken = [queue.take(PASS_TOKENS)[0].tenant for _ in range(3)]
    assert "late" in taken


def test_an_empty_lane_forgets_who_was_served() -> None:
    """After everybody was served, those who come share alike, whoever comes first."""
    queue: LaneQueue[Item] = LaneQueue()
    fill(queue, "before", [64] * 50)
    while len(queue):
        queue.take(PASS_TOKENS)
    fill(queue, "first", [64] * 20)
    fill(queue, "before", [64] * 20)
    taken = [queue.take(PASS_TOKENS)[0].tenant for _ in range(10)]
    assert taken.count("first") == taken.count("before") == 5


def test_having_been_idle_is_not_saved_up() -> None:
    """Who pauses and comes back gets its half from then on, not what it left out before."""
    queue: LaneQueue[Item] = LaneQueue()
    fill(queue, "steady", [64] * 100)
    fill(queue, "pausing", [64])
    for _ in range(41):
        queue.take(PASS_TOKENS)
    fill(queue, "pausing", [64] * 20)
    taken = [queue.take(PASS_TOKENS)[0].tenant for _ in range(10)]
    assert taken.count("steady") == taken.count("pausing") == 5


@given(tenants, st.sets(st.integers(0, 29)))
@example({"a": [1]}, {0})
def test_dropped_inputs_are_forgotten(sent: dict[str, list[int]], unwanted: set[int]) -> None:
    """What nobody waits for is neither counted nor taken, and the rest keeps its order."""
    queue: LaneQueue[Item] = LaneQueue()
    kept = {
        name: [item for item in fill(queue, name, own) if item.number not in unwanted]
        for name, own in sent.items()
    }
    queue.drop(lambda item: item.number in unwanted)
    for name, own in kept.items():
        assert [item for item in queue if item.tenant == name] == own
        assert queue.own(name) == (len(own), sum(item.tokens for item in own))
    assert queue.tokens == sum(item.tokens for own in kept.values() for item in own)
    assert queue.tenants_with("nobody") == 1 + sum(bool(own) for own in kept.values())


def test_as_many_inputs_are_looked_at_as_one_pass_needs() -> None:
    """Of one tenant all that may be; of two half of it each, and of many at least 32."""
    alone: LaneQueue[Item] = LaneQueue()
    fill(alone, "a", [1] * (FRONT_INPUTS + 1))
    assert len(alone.take(10**6)) == FRONT_INPUTS
    for count, deep in ((2, FRONT_INPUTS // 2), (40, 32)):
        shared: LaneQueue[Item] = LaneQueue()
        fill(shared, "first", [1] * 200)
        for number in range(1, count):
            fill(shared, f"other {number}", [50] * 200)
        first = [item for item in shared.take(10**6) if item.tenant == "first"]
        assert len(first) == min(deep, 200)
