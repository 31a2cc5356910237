from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.instances.lite.locks import Hold, Ticket, Turnstile, can_coexist

steps = st.lists(
    st.tuples(st.sampled_from([*Hold, "leave", "promote", "demote"]), st.integers(0, 7)),
    max_size=40,
)


class Model:
    """What is true of any fair turnstile, checked after each step."""

    def __init__(self) -> None:
        self.gate = Turnstile("the model", max_waiting=1_000)
        self.present: list[Ticket] = []
        self.promoted: Ticket | None = None

    def step(self, action: Hold | str, choice: int) -> None:
        """Do what is possible of an action, on one of the tickets."""
        if isinstance(action, Hold):
            self.present.append(self.gate.arrive(action))
            return
        fitting = [each for each in self.present if self.fits(action, each)]
        if not fitting:
            return
        ticket = fitting[choice % len(fitting)]
        if action == "leave":
            self.present.remove(ticket)
            self.promoted = None if ticket is self.promoted else self.promoted
            self.gate.leave(ticket)
        elif action == "promote":
            self.promoted = ticket
            self.gate.promote(ticket)
        else:
            self.gate.demote(ticket)

    def fits(self, action: str, ticket: Ticket) -> bool:
        """Say whether an action is allowed for a ticket."""
        if action == "promote":
            return ticket.is_admitted and ticket.hold is Hold.WRITER
        if action == "demote":
            return ticket.is_admitted and ticket.hold is Hold.SOLE
        return True

    def check(self) -> None:
        """Assert that nobody disturbs another, and nobody waits without a reason."""
        if self.promoted is not None and self.promoted.is_admitted:
            self.promoted = None
        inside = [each for each in self.present if each.is_admitted]
        if self.promoted is not None:
            inside.append(self.promoted)
        for position, one in enumerate(inside):
            assert all(can_coexist(one.hold, other.hold) for other in inside[position + 1 :])
        outside = [each for each in self.present if each not in inside]
        for position, ticket in enumerate(outside):
            ahead = [*inside, *outside[:position]]
            is_blocked = not all(can_coexist(ticket.hold, other.hold) for other in ahead)
            assert is_blocked or self.promoted is not None
        if self.promoted is not None:
            assert len(inside) > 1  # else it would be alone already


@given(steps)
@example([(Hold.WRITER, 0), ("promote", 0), (Hold.SHARED, 0), ("demote", 0), ("leave", 0)])
@example([(Hold.SHARED, 0), (Hold.WRITER, 0), ("promote", 0), ("leave", 0)])
def test_turnstile_is_safe_and_lets_in_whoever_nothing_holds_back(
    actions: list[tuple[Hold | str, int]],
) -> None:
    """Those inside never disturb each other, and nobody waits without a reason."""
    model = Model()
    for action, choice in actions:
        model.step(action, choice)
        model.check()


@given(steps)
def test_everybody_passes_once_those_inside_leave(actions: list[tuple[Hold | str, int]]) -> None:
    """No order of events leaves anybody waiting forever."""
    model = Model()
    for action, choice in actions:
        model.step(action, choice)
    while model.present:
        inside = [each for each in model.present if each.is_admitted]
        assert inside or model.promoted is not None
        leaving = inside[0] if inside else model.promoted
        assert leaving is not None
        model.present.remove(leaving)
        model.gate.leave(leaving)
    assert model.gate.is_idle
