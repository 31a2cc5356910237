"""
Turns: how many pieces of work may hold memory at once, tenants one after the other.

Work of the interactive lane goes first, and bulk work leaves it a quarter of all places.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from milvane.domain.models import Lane

_BULK_SHARE = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    size_bytes: int
    may_go: asyncio.Future[None]


class Turns:
    """
    Lets work begin while there is room for it.

    In a lane, tenants take turns, and each one's work goes in its order; what is next waits for
    room and is not overtaken, so that large work is not put off for ever. One piece that is larger
    than all the room goes when nothing else is under way.
    """

    def __init__(self, *, max_at_once: int, max_bytes: int) -> None:
        """
        Prepare with nothing under way.

        Args:
            max_at_once: Pieces of work, at least 1.

            max_bytes: That they may hold together.
        """
        self._places = {
            Lane.INTERACTIVE: max_at_once,
            Lane.BULK: max(1, int(max_at_once * _BULK_SHARE)),
        }
        self._room = {Lane.INTERACTIVE: max_bytes, Lane.BULK: int(max_bytes * _BULK_SHARE)}
        self._waiting: dict[Lane, dict[str, deque[_Waiting]]] = {lane: {} for lane in Lane}
        """By tenant, who is next first; never empty for a tenant that is in it."""
        self.at_once = 0
        self.held_bytes = 0

    @asynccontextmanager
    async def taken(self, lane: Lane, tenant: str, size_bytes: int = 0) -> AsyncIterator[None]:
        """Work while the context is open, once it is this work's turn."""
        mine = _Waiting(size_bytes, asyncio.get_running_loop().create_future())
        self._waiting[lane].setdefault(tenant, deque()).append(mine)
        self._admit()
        try:
            await mine.may_go
        except BaseException:
            # Whoever gives up may have been admitted in the same moment.
            if mine.may_go.done() and not mine.may_go.cancelled():
                self._leave(size_bytes)
            else:
                self._forget(lane, tenant, mine)
            raise
        try:
            yield
        finally:
            self._leave(size_bytes)

    def _admit(self) -> None:
        for lane in (Lane.INTERACTIVE, Lane.BULK):
            queues = self._waiting[lane]
            while queues and self._fits(lane, next(iter(queues.values()))[0].size_bytes):
                tenant, queue = next(iter(queues.items()))
                going = queue.popleft()
                del queues[tenant]
                if queue:
                    queues[tenant] = queue  # behind the other tenants
                if going.may_go.cancelled():
                    continue
                self.at_once += 1
                self.held_bytes += going.size_bytes
                going.may_go.set_result(None)

    def _fits(self, lane: Lane, size_bytes: int) -> bool:
        if self.at_once == 0:
            return True
        return (
            self.at_once < self._places[lane] and self.held_bytes + size_bytes <= self._room[lane]
        )

    def _leave(self, size_bytes: int) -> None:
        self.at_once -= 1
        self.held_bytes -= size_bytes
        self._admit()

    def _forget(self, lane: Lane, tenant: str, mine: _Waiting) -> None:
        queue = self._waiting[lane].get(tenant, deque())
        if mine in queue:
            queue.remove(mine)
            if not queue:
                del self._waiting[lane][tenant]
        self._admit()  # it may have stood before others that fit
