"""What a cache remembers, whatever happens to it."""

from __future__ import annotations

from collections import OrderedDict
from itertools import product

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.serving.caching.keys import KEY_BYTES, make_keys
from milvane.serving.caching.membership import Membership
from milvane.serving.caching.memory import ENTRY_BYTES, RecentVectors

parts = st.tuples(st.text(max_size=3), st.text(max_size=3), st.binary(max_size=3))


@given(parts, parts)
@example(("a", "bc", b""), ("ab", "c", b""))
@example(("", "ab", b"c"), ("", "a", b"bc"))
@example(("", "a", b""), ("a", "", b""))
def test_keys_are_equal_only_for_equal_parts(
    one: tuple[str, str, bytes], other: tuple[str, str, bytes]
) -> None:
    """Tenant, source and content tell keys apart, however they run together."""
    (first,), (second,) = (make_keys(each[0], each[1], [each[2]]) for each in (one, other))
    assert (first == second) == (one == other)
    assert len(first) == KEY_BYTES


def test_keys_do_not_depend_on_their_neighbours() -> None:
    """A content has the same key alone as among others."""
    together = make_keys("t", "s", [b"a", b"b", b"c"])
    assert together == [make_keys("t", "s", [content])[0] for content in (b"a", b"b", b"c")]


names = st.integers(0, 5)
steps = st.lists(st.tuples(st.sampled_from(["get", "put"]), names, st.integers(0, 30)))


@given(steps, st.integers(0, 1500))
@example([("put", 1, 10)], ENTRY_BYTES + 10)  # an exact fit is a fit
@example([("put", 1, 11)], ENTRY_BYTES + 10)
@example([("put", 1, 1), ("put", 2, 1), ("get", 1, 0), ("put", 3, 1)], 2 * ENTRY_BYTES + 2)
@example([("put", 1, 1), ("put", 1, 30)], ENTRY_BYTES + 10)  # the old one is gone as well
def test_memory_forgets_what_was_longest_unused(
    steps: list[tuple[str, int, int]], max_bytes: int
) -> None:
    """After any steps, it holds what a plain list of uses says, and never more than its bound."""
    memory, model = RecentVectors(max_bytes), OrderedDict[bytes, bytes]()
    for step, name, size in steps:
        key = bytes([name])
        if step == "get":
            assert memory.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
            continue
        memory.put(key, b"v" * size)
        model.pop(key, None)
        if size + ENTRY_BYTES <= max_bytes:
            model[key] = b"v" * size
        while sum(len(vector) + ENTRY_BYTES for vector in model.values()) > max_bytes:
            model.popitem(last=False)
        assert memory.bytes == sum(len(vector) + ENTRY_BYTES for vector in model.values())
        assert len(memory) == len(model)


some_keys = st.sets(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), max_size=20).map(list)


@given(some_keys, some_keys, some_keys)
@example([b"\xff" * KEY_BYTES], [b"\0" * KEY_BYTES], [])
def test_membership_never_denies_what_was_added(
    alone: list[bytes], together: list[bytes], elsewhere: list[bytes]
) -> None:
    """However a key was added, it may be there; and another membership can be joined."""
    membership, other = Membership(100), Membership(100)
    for key in alone:
        membership.add(key)
    membership.add_all(together)
    other.add_all(elsewhere)
    membership.join(other)
    assert all(membership.may_hold(key) for key in (*alone, *together, *elsewhere))


def test_membership_is_seldom_wrong() -> None:
    """Of keys that were never added, fewer than one in 100 is taken for one that was."""
    keys = make_keys("", "", [str(number).encode() for number in range(20_000)])
    membership = Membership(10_000)
    membership.add_all(keys[:10_000])
    assert sum(membership.may_hold(key) for key in keys[10_000:]) < 100


def test_empty_membership_holds_nothing() -> None:
    """Before anything is added, everything is absent; one key makes only itself present."""
    keys = make_keys("", "", [bytes(pair) for pair in product(range(10), repeat=2)])
    membership = Membership(100)
    assert not any(map(membership.may_hold, keys))
    membership.add(keys[0])
    assert [key for key in keys if membership.may_hold(key)] == keys[:1]
