from __future__ import annotations

import asyncio

import pytest

from milvane.instances.lite.gates import Gate
from milvane.instances.lite.locks import Hold


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_waiting_caller_passes_when_the_way_is_free() -> None:
    """A caller waits exactly as long as somebody is in its way."""
    gate = Gate("the test", max_waiting=4)
    first = await gate.enter(Hold.WRITER)
    second = asyncio.create_task(gate.enter(Hold.WRITER))
    await settled()
    assert not second.done()
    first.close()
    (await second).close()
    assert gate.is_idle


async def test_caller_that_goes_away_while_it_waits_is_forgotten() -> None:
    """A cancelled wait holds nobody back."""
    gate = Gate("the test", max_waiting=4)
    reader = await gate.enter(Hold.SHARED)
    gone = asyncio.create_task(gate.enter(Hold.SOLE))
    late = asyncio.create_task(gate.enter(Hold.SHARED))
    await settled()
    assert not late.done()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    (await late).close()
    reader.close()
    assert gate.is_idle


async def test_promoted_writer_waits_for_readers_and_lets_them_in_again() -> None:
    """Readers stand still only between promotion and demotion."""
    gate = Gate("the test", max_waiting=4)
    writer, reader = await gate.enter(Hold.WRITER), await gate.enter(Hold.SHARED)
    promotion = asyncio.create_task(writer.promote())
    await settled()
    late = asyncio.create_task(gate.enter(Hold.SHARED))
    await settled()
    assert not promotion.done()
    assert not late.done()
    reader.close()
    await promotion
    assert not late.done()
    writer.demote()
    (await late).close()
    writer.close()
    assert gate.is_idle


async def test_closing_twice_is_closing_once() -> None:
    """A passage may be closed by everybody who has it."""
    gate = Gate("the test", max_waiting=4)
    passage = await gate.enter(Hold.SOLE)
    passage.close()
    passage.close()
    assert gate.is_idle
