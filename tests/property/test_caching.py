"""What a cache remembers, whatever happens to it."""

from __future__ import annotations

from collections import OrderedDict
from itertools import product

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from milvane.domain.vectors import SparseVector
from milvane.serving.caching.forms import DenseForm, WeighedForm, WeighedVectors
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


numbers = st.floats(width=32, allow_nan=False)
weighed = st.lists(
    st.tuples(
        st.lists(numbers, min_size=3, max_size=3),
        st.dictionaries(st.integers(0, 2**32 - 1), numbers, max_size=5),
    ),
    max_size=4,
)


def weighed_of(rows: list[tuple[list[float], dict[int, float]]]) -> WeighedVectors:
    """Make vectors of width 3 with their terms."""
    return WeighedVectors(
        np.array([dense for dense, _ in rows], np.float32).reshape(-1, 3),
        [
            SparseVector(np.array(list(terms), np.uint32), np.array([*terms.values()], np.float32))
            for _, terms in rows
        ],
    )


@given(weighed)
@example([])
@example([([1.0, 2.0, 3.0], {})])
@example([([0.0, 0.0, 1.0], {2**32 - 1: 0.5, 0: 2.0}), ([1.0, 0.0, 0.0], {7: 1.0})])
def test_weighed_vectors_are_read_as_they_were_written(
    rows: list[tuple[list[float], dict[int, float]]],
) -> None:
    """Each vector has its own terms again, in order, to the last bit."""
    form, vectors = WeighedForm(3), weighed_of(rows)
    written = form.write(vectors)
    read = form.read(written)
    assert all(map(form.is_whole, written))
    assert len(written) == len(rows)
    assert read.dense.shape == (len(rows), 3)
    assert read.dense.tobytes() == vectors.dense.tobytes()
    assert [
        (terms.indexes.tolist(), terms.values.tobytes(), terms.indexes.dtype, terms.values.dtype)
        for terms in read.terms
    ] == [
        (terms.indexes.tolist(), terms.values.tobytes(), np.uint32, np.float32)
        for terms in vectors.terms
    ]


@given(st.integers(0, 80))
@example(12)  # a row without terms
@example(11)
@example(20)
@example(16)  # half a term
def test_bytes_of_another_length_are_no_vectors(length: int) -> None:
    """What cannot be a row of its width, with or without whole terms, is never read."""
    assert DenseForm(3).is_whole(bytes(length)) == (length == 12)
    assert DenseForm(3, np.int8).is_whole(bytes(length)) == (length == 3)
    assert WeighedForm(3).is_whole(bytes(length)) == (length in range(12, 81, 8))
