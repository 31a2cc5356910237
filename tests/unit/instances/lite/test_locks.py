from __future__ import annotations

import pytest

from milvane.domain.errors import Overloaded
from milvane.instances.lite.locks import Hold, Turnstile


def turnstile(max_waiting: int = 10) -> Turnstile:
    """Make one with nobody inside."""
    return Turnstile("the test", max_waiting)


def test_readers_pass_together_with_one_writer() -> None:
    """Reads run beside each other and beside one write, but not two writes."""
    gate = turnstile()
    reader, writer, other = (gate.arrive(hold) for hold in (Hold.SHARED, Hold.WRITER, Hold.SHARED))
    second = gate.arrive(Hold.WRITER)
    assert [reader.is_admitted, writer.is_admitted, other.is_admitted] == [True, True, True]
    assert not second.is_admitted
    assert gate.leave(writer) == [second]


def test_sole_waits_for_all_and_holds_back_all_that_come_later() -> None:
    """Who wants to be alone is not starved by a stream of readers."""
    gate = turnstile()
    reader = gate.arrive(Hold.SHARED)
    sole = gate.arrive(Hold.SOLE)
    late = gate.arrive(Hold.SHARED)
    assert not sole.is_admitted
    assert not late.is_admitted
    assert gate.leave(reader) == [sole]
    assert gate.leave(sole) == [late]


def test_reader_overtakes_a_writer_that_it_does_not_disturb() -> None:
    """A queue of writers never slows a reader."""
    gate = turnstile()
    gate.arrive(Hold.WRITER)
    gate.arrive(Hold.WRITER)
    assert gate.arrive(Hold.SHARED).is_admitted


def test_promotion_goes_ahead_of_all_that_wait() -> None:
    """A flush that has written its files waits only for the reads that run already."""
    gate = turnstile()
    writer, reader = gate.arrive(Hold.WRITER), gate.arrive(Hold.SHARED)
    waiting = gate.arrive(Hold.SOLE)
    assert not gate.promote(writer)
    late = gate.arrive(Hold.SHARED)
    assert gate.leave(reader) == [writer]
    assert writer.hold is Hold.SOLE
    assert gate.demote(writer) == []
    assert gate.leave(writer) == [waiting]
    assert gate.leave(waiting) == [late]


def test_promotion_that_is_given_up_lets_others_in() -> None:
    """A flush that is cancelled while it waits leaves nothing behind."""
    gate = turnstile()
    writer, reader = gate.arrive(Hold.WRITER), gate.arrive(Hold.SHARED)
    gate.promote(writer)
    late = gate.arrive(Hold.SHARED)
    assert gate.leave(writer) == [late]
    gate.leave(reader)
    gate.leave(late)
    assert gate.is_idle


def test_newcomer_is_turned_away_when_too_many_wait() -> None:
    """The queue is bounded, and who is turned away holds no place in it."""
    gate = turnstile(max_waiting=1)
    gate.arrive(Hold.SOLE)
    waiting = gate.arrive(Hold.SHARED)
    with pytest.raises(Overloaded, match="the test"):
        gate.arrive(Hold.SHARED)
    assert gate.waiting == 1
    gate.leave(waiting)
    assert gate.waiting == 0


def test_only_a_writer_can_be_promoted_and_only_a_sole_demoted() -> None:
    """Two readers that both waited to be alone would wait forever."""
    gate = turnstile()
    reader = gate.arrive(Hold.SHARED)
    with pytest.raises(ValueError, match="writer"):
        gate.promote(reader)
    with pytest.raises(ValueError, match="alone"):
        gate.demote(reader)


def test_only_readers_are_inside_until_somebody_writes_or_waits() -> None:
    """A reader knows whether it has company that it might have to wait for."""
    turnstile = Turnstile("the test", max_waiting=4)
    assert turnstile.has_only_readers
    reader = turnstile.arrive(Hold.SHARED)
    assert turnstile.has_only_readers
    sole = turnstile.arrive(Hold.SOLE)
    assert not turnstile.has_only_readers
    turnstile.leave(sole)
    writer = turnstile.arrive(Hold.WRITER)
    assert not turnstile.has_only_readers
    turnstile.leave(writer)
    turnstile.leave(reader)
    assert turnstile.has_only_readers
