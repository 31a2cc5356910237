"""Turns, for any order of coming, ending and giving up: room is kept, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.domain.models import Lane
from milvane.serving.turns import Turns

MAX_AT_ONCE, MAX_BYTES = 3, 100
BULK, INTERACTIVE = Lane.BULK, Lane.INTERACTIVE

comings = st.tuples(
    st.just("come"), st.sampled_from(Lane), st.sampled_from("abc"), st.integers(0, 130)
)
steps = st.lists(
    st.tuples(
        comings | st.tuples(st.sampled_from(["end", "give up"]), st.integers(0, 20)),
        st.integers(0, 6),
    ),
    max_size=30,
)
"""What happens, and how many moments pass until the next: few, and things happen across."""


@dataclass
class World:
    """Work that has come, and what may be seen of it."""

    turns: Turns
    sizes: dict[int, int] = field(default_factory=dict)
    """Of what is under way."""
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    ends: dict[int, asyncio.Event] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)

    async def work(self, number: int, lane: Lane, tenant: str, size_bytes: int) -> None:
        """Work in its turn until told to end."""
        async with self.turns.taken(lane, tenant, size_bytes):
            self.sizes[number] = size_bytes
            try:
                self.check()
                await self.ends[number].wait()
                self.done.add(number)
            finally:
                del self.sizes[number]

    def check(self) -> None:
        """See that no more is under way than there is room for; one alone may be larger."""
        assert len(self.sizes) <= MAX_AT_ONCE
        assert len(self.sizes) == 1 or sum(self.sizes.values()) <= MAX_BYTES


async def play(told: list[tuple[tuple, int]]) -> None:
    """Do the steps, then let all work end."""
    world, given_up = World(Turns(max_at_once=MAX_AT_ONCE, max_bytes=MAX_BYTES)), set()
    for step, moments in told:
        if step[0] == "come":
            number = len(world.tasks)
            world.ends[number] = asyncio.Event()
            world.tasks[number] = asyncio.create_task(world.work(number, *step[1:]))
        elif step[1] in world.tasks and step[0] == "end":
            world.ends[step[1]].set()
        elif step[1] in world.tasks:
            world.tasks[step[1]].cancel()
            given_up.add(step[1])
        for _ in range(moments):
            await asyncio.sleep(0)
    for end in world.ends.values():
        end.set()
    await asyncio.wait_for(asyncio.gather(*world.tasks.values(), return_exceptions=True), 5)
    assert world.done >= set(world.tasks) - given_up
    assert (world.turns.at_once, world.turns.held_bytes) == (0, 0)


@given(steps)
@example(
    [
        (("come", BULK, "a", 100), 6),
        (("come", INTERACTIVE, "a", 130), 6),
        (("end", 0), 6),
        (("come", BULK, "b", 0), 6),
    ]
)
@example(  # let in, and gone before it knows
    [
        (("come", BULK, "a", 100), 6),
        (("come", BULK, "a", 100), 6),
        (("end", 0), 1),
        (("give up", 1), 6),
        (("come", BULK, "b", 10), 6),
    ]
)
def test_room_is_kept_and_everybody_has_a_turn(told: list[tuple[tuple, int]]) -> None:
    """Whoever does not give up works in the end, and what was held is free again."""
    asyncio.run(play(told))
