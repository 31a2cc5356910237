"""Waiting at a turnstile on the event loop; cancelled callers give their place back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from milvane.instances.lite.locks import Hold, Ticket, Turnstile

if TYPE_CHECKING:
    from collections.abc import Iterable


class Gate:
    """One turnstile and the callers that wait at it; used from one event loop only."""

    def __init__(self, subject: str, max_waiting: int) -> None:
        self._turnstile = Turnstile(subject, max_waiting)
        self._wakers: dict[Ticket, asyncio.Future[None]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nobody is inside or waits."""
        return self._turnstile.is_idle

    @property
    def has_only_readers(self) -> bool:
        """Whether all who are inside only look, and nobody waits."""
        return self._turnstile.has_only_readers

    async def enter(self, hold: Hold) -> Passage:
        """
        Wait for a hold.

        Returns:
            The passage, which the caller must close. Cancelling the wait gives the place back.

        Raises:
            Overloaded: If too many wait already.
        """
        ticket = self._turnstile.arrive(hold)
        passage = Passage(self, ticket)
        try:
            await self._admission(ticket)
        except BaseException:
            passage.close()
            raise
        return passage

    async def promote(self, ticket: Ticket) -> None:
        """Wait until the writer inside is alone."""
        self._turnstile.promote(ticket)
        await self._admission(ticket)

    def demote(self, ticket: Ticket) -> None:
        """Let readers in again beside the writer."""
        self._wake(self._turnstile.demote(ticket))

    def leave(self, ticket: Ticket) -> None:
        """Give a ticket back and wake whom this admits."""
        self._wake(self._turnstile.leave(ticket))

    async def _admission(self, ticket: Ticket) -> None:
        if ticket.is_admitted:
            return
        waker = asyncio.get_running_loop().create_future()
        self._wakers[ticket] = waker
        try:
            await waker
        finally:
            del self._wakers[ticket]

    def _wake(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            waker = self._wakers.get(ticket)
            if waker is not None and not waker.done():
                waker.set_result(None)


class Passage:
    """A hold that one caller has, until it is closed."""

    def __init__(self, gate: Gate, ticket: Ticket) -> None:
        self._gate = gate
        self._ticket = ticket
        self._is_closed = False

    async def promote(self) -> None:
        """Wait until this writer is alone, ahead of everybody who waits."""
        await self._gate.promote(self._ticket)

    def demote(self) -> None:
        """Let readers in again, and stay the writer."""
        self._gate.demote(self._ticket)

    def close(self) -> None:
        """Give the hold back; closing twice is closing once."""
        if not self._is_closed:
            self._is_closed = True
            self._gate.leave(self._ticket)
