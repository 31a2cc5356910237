"""The queue in front of any network, whatever its inputs are."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from milvane.domain.errors import Internal
from milvane.domain.models import Lane
from milvane.inference.passes import PassQueue, QueueLimits, Work

LIMITS = QueueLimits(max_pass_tokens=100, max_pending_tokens=9999, max_pending_inputs=999)


async def test_what_the_network_takes_is_handed_on_as_it_is() -> None:
    """Each input gets its own row, in order, whatever kind of thing it is."""

    def forward(names: list[str]) -> list[NDArray[np.float32]]:
        return [np.full(len(name), ord(name[0]), np.float32) for name in names]

    async with PassQueue(forward, LIMITS) as queue:
        rows = await queue.run([Work(3, "aa"), Work(50, "b"), Work(90, "ccc")], lane=Lane.BULK)
    assert [row.tolist() for row in rows] == [[97.0, 97.0], [98.0], [99.0, 99.0, 99.0]]


async def test_passes_hold_what_fits_into_their_budget() -> None:
    """Inputs of like cost share passes, all of one size, up to their tokens."""
    passes: list[int] = []

    def forward(loads: list[int]) -> NDArray[np.float32]:
        passes.append(len(loads))
        return np.zeros((len(loads), 2), np.float32)

    async with PassQueue(forward, LIMITS) as queue:
        await queue.run([Work(20, number) for number in range(12)], lane=Lane.BULK)
    assert passes == [4, 4, 4]


async def test_failure_reaches_only_the_input_that_caused_it() -> None:
    """A pass that fails is tried again input by input, and requests of others succeed."""

    def forward(loads: list[bool]) -> NDArray[np.float32]:
        if any(loads):
            raise RuntimeError("poison")
        return np.ones((len(loads), 1), np.float32)

    async with PassQueue(forward, LIMITS) as queue:
        good, bad = await asyncio.gather(
            queue.run([Work(5, False)], lane=Lane.BULK),
            queue.run([Work(5, True)], lane=Lane.BULK),
            return_exceptions=True,
        )
    assert isinstance(good, list)
    assert isinstance(bad, Internal)


async def test_numbers_that_are_none_are_a_failure() -> None:
    """A row that is not finite never reaches anybody."""

    def forward(loads: list[int]) -> NDArray[np.float32]:
        return np.full((len(loads), 1), np.nan, np.float32)

    async with PassQueue(forward, LIMITS) as queue:
        with pytest.raises(Internal, match="not finite"):
            await queue.run([Work(1, 0)], lane=Lane.INTERACTIVE)


@pytest.mark.parametrize("more", [-1, 1])
async def test_rows_of_another_pass_are_a_failure(more: int) -> None:
    """A network that gives more or fewer rows than it was asked for is not believed in any."""

    def forward(loads: list[int]) -> NDArray[np.float32]:
        return np.ones((len(loads) + more, 1), np.float32)

    async with PassQueue(forward, LIMITS) as queue:
        with pytest.raises(Internal, match="vectors for 1 inputs"):
            await queue.run([Work(1, 0), Work(1, 1)], lane=Lane.BULK)
