"""Turns: room is never exceeded, tenants share it, and whoever leaves gives it back."""

from __future__ import annotations

import asyncio

from milvane.domain.models import Lane
from milvane.serving.turns import Turns

BULK, INTERACTIVE = Lane.BULK, Lane.INTERACTIVE


class Work:
    """Pieces of work that begin in their turn, and end when they are told to."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    async def ask(self, name: str, lane: Lane, tenant: str, size_bytes: int = 0) -> None:
        """Want a turn."""
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._run(name, lane, tenant, size_bytes))
        await settle()

    async def _run(self, name: str, lane: Lane, tenant: str, size_bytes: int) -> None:
        async with self.turns.taken(lane, tenant, size_bytes):
            self.begun.append(name)
            await self.ends[name].wait()

    async def end(self, name: str) -> None:
        """End one."""
        self.ends[name].set()
        await self.tasks[name]
        await settle()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_tenants_take_turns() -> None:
    """One tenant's backlog is not before another's first piece."""
    work = Work(Turns(max_at_once=1, max_bytes=100))
    for name in ("a1", "a2", "a3"):
        await work.ask(name, BULK, "a")
    await work.ask("b1", BULK, "b")
    for name in ("a1", "a2", "b1", "a3"):
        await work.end(name)
    assert work.begun == ["a1", "a2", "b1", "a3"]


async def test_searches_have_places_of_their_own() -> None:
    """Bulk work leaves a quarter of places and room to those whom somebody waits for."""
    work = Work(Turns(max_at_once=4, max_bytes=400))
    for number in range(5):
        await work.ask(f"bulk{number}", BULK, "a", 100)
    await work.ask("search", INTERACTIVE, "a", 100)
    assert work.begun == ["bulk0", "bulk1", "bulk2", "search"]
    for name in work.ends:
        await work.end(name)
    assert (work.turns.at_once, work.turns.held_bytes) == (0, 0)


async def test_large_work_waits_for_room_and_is_not_overtaken() -> None:
    """What does not fit goes alone, before what came after it."""
    work = Work(Turns(max_at_once=8, max_bytes=100))
    await work.ask("small", BULK, "a", 10)
    await work.ask("huge", BULK, "a", 1000)
    await work.ask("next", BULK, "a", 10)
    assert work.begun == ["small"]
    await work.end("small")
    assert work.begun == ["small", "huge"]
    await work.end("huge")
    assert work.begun == ["small", "huge", "next"]
    await work.end("next")


async def test_what_waits_for_room_is_let_in_when_it_goes() -> None:
    """Those behind it fit already, and need not wait until something ends."""
    work = Work(Turns(max_at_once=8, max_bytes=100))
    await work.ask("small", BULK, "a", 60)
    await work.ask("large", BULK, "a", 50)
    await work.ask("behind", BULK, "a", 10)
    assert work.begun == ["small"]
    work.tasks["large"].cancel()
    await settle()
    assert work.begun == ["small", "behind"]
    for name in ("small", "behind"):
        await work.end(name)


async def test_whoever_leaves_gives_the_place_back() -> None:
    """Cancelled while waiting, in the moment of being let in, or at work: the next one begins."""
    work = Work(Turns(max_at_once=1, max_bytes=100))
    await work.ask("first", BULK, "a")
    await work.ask("waiting", BULK, "a")
    await work.ask("let in", BULK, "b")
    await work.ask("last", BULK, "c")
    work.tasks["waiting"].cancel()
    work.ends["first"].set()
    work.tasks["let in"].cancel()
    await settle()
    assert work.begun == ["first", "last"]
    work.tasks["last"].cancel()
    await settle()
    assert (work.turns.at_once, work.turns.held_bytes) == (0, 0)
    await work.ask("another", BULK, "a")
    assert work.begun[-1] == "another"
    await work.end("another")
