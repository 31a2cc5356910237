"""The engine for contents, before any network: queue, threads, and who waits for what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from milvane.domain.contents import MediaFacts, Wishes
from milvane.domain.errors import DeadlineExceeded, Overloaded
from milvane.domain.models import Lane, Modality
from milvane.domain.pictures import Fit, Picture, Seen, Sizing
from milvane.inference.contents.encoders.towers import PictureLoad, TowerEncoder, Towers
from milvane.inference.contents.engine import ContentsEngine
from milvane.inference.contents.families import Opened
from milvane.inference.contents.ports import Tokenized
from milvane.inference.engine import EngineFacts
from milvane.inference.passes import PassQueue, QueueLimits, Work

LIMITS = QueueLimits(max_pass_tokens=64, max_pending_tokens=999, max_pending_inputs=999)
PATIENCE_S = 10.0
"""After this a test fails, where it would wait for ever."""
SIDE = 4


class Letters:
    """A tokenizer of letters."""

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """Number the letters."""
        return [[ord(letter) for letter in text] for text in texts]

    def frame(self, ids: Sequence[int]) -> list[int]:
        """Add nothing."""
        return [*ids]


class SteppedNetwork:
    """Sums what it gets; each pass waits for a permit of the test, and says what is in it."""

    name, precision, threads, concurrency, width = "stepped", "f32", 1, 1, 3
    is_accelerated = False

    def __init__(self, permits: int = 0) -> None:
        self.started: SimpleQueue[int] = SimpleQueue()
        """How many inputs each pass has that began."""
        self._permits = threading.Semaphore(permits)

    def allow(self, passes: int = 1) -> None:
        """Let passes go on."""
        self._permits.release(passes)

    async def wait_for_pass(self) -> int:
        """Wait until a pass has begun, and say how many inputs are in it."""
        return await asyncio.to_thread(self.started.get, timeout=PATIENCE_S)

    def forward(self, loads: list[Any]) -> NDArray[np.float32]:
        """Sum each input."""
        self.started.put(len(loads))
        if not self._permits.acquire(timeout=PATIENCE_S):
            raise TimeoutError("the test never let this pass go on")
        sums = [
            each.pixels.sum() if isinstance(each, PictureLoad) else each.ids.sum() for each in loads
        ]
        return np.array([[value, 1, 2] for value in sums], np.float32)

    def close(self) -> None:
        """Nothing to free."""


class Watched(TowerEncoder):
    """Says when it cuts a content's pixels."""

    def __init__(self) -> None:
        towers = Towers("t", Sizing(Fit.STRETCH, side=SIDE), image_tokens=4, window_tokens=9)
        super().__init__(towers, Letters())
        self.packed: SimpleQueue[int] = SimpleQueue()

    def pack(self, content: Tokenized, seen: Sequence[Seen]) -> list[Work[Any]]:
        """Count, and do it."""
        work = super().pack(content, seen)
        self.packed.put(len(work))
        return work


@asynccontextmanager
async def running(
    network: SteppedNetwork, limits: QueueLimits = LIMITS
) -> AsyncIterator[tuple[ContentsEngine, Watched]]:
    """Run an engine over a network of the test's."""
    encoder = Watched()
    facts = EngineFacts("w", "1", "stepped", "f32", 1, 3, 9, "fingerprint", "space")
    with ThreadPoolExecutor(2) as pool:
        async with PassQueue(network.forward, limits) as queue:
            yield ContentsEngine(Opened(encoder, network), queue, pool, facts), encoder


async def until(is_so: Callable[[], bool]) -> None:
    """Let everything else go on until something is so."""
    for _ in iter(is_so, True):
        await asyncio.sleep(0)


async def embed(engine: ContentsEngine, part: str | MediaFacts, **options: Any) -> Any:
    """Embed one part."""
    [content] = await engine.tokenize([[part]], Wishes())
    seen = []
    if isinstance(part, MediaFacts):
        seen = [Picture(np.full((SIDE, SIDE, 3), part.digest[0], np.uint8))]
    options = {"dimension": 3, "lane": Lane.BULK, **options}
    return await engine.embed(content, seen, **options)


def image(shade: int) -> MediaFacts:
    """Describe an image of one shade."""
    return MediaFacts(bytes([shade]) * 32, Modality.IMAGE, "png", 1, 10, 10)


async def test_next_pixels_are_cut_while_the_network_runs() -> None:
    """A content that comes during a pass is ready for the next one before the first ends."""
    network = SteppedNetwork()
    async with running(network) as (engine, encoder):
        first = asyncio.create_task(embed(engine, image(1)))
        assert await network.wait_for_pass() == 1
        later = [asyncio.create_task(embed(engine, image(shade))) for shade in (2, 3, 4)]
        for _ in range(4):
            await asyncio.to_thread(encoder.packed.get, timeout=PATIENCE_S)
        assert not first.done()
        await until(lambda: engine.pending_inputs(Lane.BULK) == 3)
        network.allow(2)
        assert await network.wait_for_pass() == 3
        vectors = [await each for each in (first, *later)]
    for shade, vector in zip((1, 2, 3, 4), vectors, strict=True):
        expected = np.array([shade * SIDE * SIDE * 3, 1, 2], np.float32)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


async def test_query_goes_ahead_of_what_waits() -> None:
    """A person's question is in the next pass, before the images of a load."""
    network = SteppedNetwork()
    async with running(network) as (engine, _):
        first = asyncio.create_task(embed(engine, image(1)))
        await network.wait_for_pass()
        load = [asyncio.create_task(embed(engine, image(shade))) for shade in range(2, 30)]
        await until(lambda: engine.pending_inputs(Lane.BULK) == len(load))
        question = asyncio.create_task(embed(engine, "what", lane=Lane.INTERACTIVE))
        await until(lambda: engine.pending_inputs(Lane.INTERACTIVE) == 1)
        network.allow(2)
        assert await network.wait_for_pass() == 1
        await question
        assert not any(each.done() for each in load)
        network.allow(len(load))
        await asyncio.gather(first, *load)


async def test_work_of_a_caller_who_left_is_not_done() -> None:
    """What nobody waits for any more never reaches the network."""
    network = SteppedNetwork()
    async with running(network) as (engine, _):
        first = asyncio.create_task(embed(engine, image(1)))
        await network.wait_for_pass()
        left = asyncio.create_task(embed(engine, image(2)))
        await until(lambda: engine.pending_inputs(Lane.BULK) == 1)
        left.cancel()
        await until(lambda: engine.pending_inputs(Lane.BULK) == 0)
        network.allow()
        await first
    assert network.started.empty()
    assert left.cancelled()


async def test_full_queue_and_past_deadlines_are_told() -> None:
    """Who comes to a full queue, or too late, hears so at once; nothing is computed for them."""
    network = SteppedNetwork()
    tight = QueueLimits(max_pass_tokens=64, max_pending_tokens=999, max_pending_inputs=1)
    async with running(network, tight) as (engine, _):
        first = asyncio.create_task(embed(engine, image(1)))
        await network.wait_for_pass()
        second = asyncio.create_task(embed(engine, image(2)))
        await until(lambda: engine.pending_inputs(Lane.BULK) == 1)
        with pytest.raises(Overloaded):
            await embed(engine, image(3))
        with pytest.raises(DeadlineExceeded):
            await embed(engine, "late", lane=Lane.INTERACTIVE, time_left_s=0.0)
        network.allow(2)
        await asyncio.gather(first, second)
    assert engine.counts.inputs == 2
