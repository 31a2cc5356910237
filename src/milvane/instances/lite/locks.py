"""
Who may touch a collection now, and who waits. Pure: no threads, no event loop, no clock.

Calls pass in the order in which they came, except that one may overtake those that it does not
disturb. Nobody starves: whoever waits blocks everything that came later and would disturb it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from milvane.domain.errors import Overloaded

_RETRY_AFTER_S = 0.1


class Hold(Enum):
    """What a passage allows: to look, to write beside those who look, to be alone."""

    SHARED = "shared"
    WRITER = "writer"
    SOLE = "sole"


_TOGETHER = frozenset({frozenset({Hold.SHARED}), frozenset({Hold.SHARED, Hold.WRITER})})


def can_coexist(one: Hold, other: Hold) -> bool:
    """Say whether two holds may be had at the same time."""
    return frozenset({one, other}) in _TOGETHER


@dataclass(eq=False, slots=True)
class Ticket:
    """One caller's place: waiting until admitted, then a holder until it leaves."""

    hold: Hold
    is_admitted: bool = field(default=False, init=False)


class Turnstile:
    """The order in which one thing is shared: holders inside, tickets in a queue outside."""

    def __init__(self, subject: str, max_waiting: int) -> None:
        """
        Start with nobody inside.

        Args:
            subject: What is guarded, in words for the caller who is turned away.

            max_waiting: Tickets outside, above which newcomers are turned away.
        """
        self._subject = subject
        self._max_waiting = max_waiting
        self._inside: list[Ticket] = []
        self._outside: list[Ticket] = []
        self._promoted: Ticket | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody is inside or waits."""
        return not self._inside and not self._outside

    @property
    def has_only_readers(self) -> bool:
        """Whether all who are inside only look, and nobody waits."""
        return not self._outside and all(each.hold is Hold.SHARED for each in self._inside)

    @property
    def waiting(self) -> int:
        """How many tickets are outside."""
        return len(self._outside)

    def arrive(self, hold: Hold) -> Ticket:
        """
        Take a place at the end of the queue, and pass at once if nothing is in the way.

        Returns:
            The ticket, to be given back with `leave`, admitted or not.

        Raises:
            Overloaded: If it would have to wait, and enough do already.
        """
        ticket = Ticket(hold)
        self._outside.append(ticket)
        self._admit()
        if not ticket.is_admitted and len(self._outside) > self._max_waiting:
            self._outside.remove(ticket)
            raise Overloaded(
                f"{len(self._outside)} calls already wait for {self._subject}; retry later",
                retry_after_s=_RETRY_AFTER_S,
            )
        return ticket

    def leave(self, ticket: Ticket) -> list[Ticket]:
        """
        Give a ticket back, whether it is inside or still outside.

        Returns:
            The tickets that are admitted by this, oldest first.
        """
        if ticket is self._promoted:
            self._promoted = None
        (self._inside if ticket in self._inside else self._outside).remove(ticket)
        return self._admit()

    def promote(self, ticket: Ticket) -> bool:
        """
        Make the writer inside wait to be alone, ahead of all that are outside.

        Returns:
            Whether it is alone already; if not, a later `leave` admits it again.
        """
        if ticket not in self._inside or ticket.hold is not Hold.WRITER:
            raise ValueError(
                "only the writer inside can be promoted: two others could wait forever"
            )
        ticket.is_admitted = False
        self._promoted = ticket
        self._admit()
        return ticket.is_admitted

    def demote(self, ticket: Ticket) -> list[Ticket]:
        """
        Make the one that is alone a writer again.

        Returns:
            The tickets that are admitted by this, oldest first.
        """
        if ticket.hold is not Hold.SOLE:
            raise ValueError("only one that is alone can be demoted")
        ticket.hold = Hold.WRITER
        return self._admit()

    def _admit(self) -> list[Ticket]:
        if self._promoted is not None:
            return self._finish_promotion(self._promoted)
        admitted: list[Ticket] = []
        still_outside: list[Ticket] = []
        ahead = {ticket.hold for ticket in self._inside}
        for ticket in self._outside:
            if all(can_coexist(ticket.hold, hold) for hold in ahead):
                ticket.is_admitted = True
                self._inside.append(ticket)
                admitted.append(ticket)
            else:
                still_outside.append(ticket)
            ahead.add(ticket.hold)
        self._outside = still_outside
        return admitted

    def _finish_promotion(self, ticket: Ticket) -> list[Ticket]:
        # Nobody else enters meanwhile, so the wait is that of the calls that run already.
        if self._inside != [ticket]:
            return []
        ticket.hold, ticket.is_admitted = Hold.SOLE, True
        self._promoted = None
        return [ticket]
