"""The embedded pictures: how fast, and what a text waits for beside them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import numpy as np

from benchmarks.report import Section
from benchmarks.timing import quantiles_ms
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.contents import MediaFacts, SeenPart, Wishes
from milvane.domain.models import Lane, Modality
from milvane.domain.pictures import Picture, Seen
from milvane.inference.engine import open_engine
from milvane.inference.pictures.engine import PicturesEngine, open_pictures
from milvane.inference.settings import InferenceSettings
from milvane.settings import load_settings, weights_dir

CALLERS = 64
DIMENSION = 1024
QUESTION = "two yellow bananas on a table"


async def embed(engine: PicturesEngine, part: SeenPart, *seen: Seen, lane: Lane) -> None:
    """Embed a text or a picture, as a front door would, without cache."""
    (content,) = await engine.tokenize([[part]], Wishes())
    await engine.embed(content, seen, dimension=DIMENSION, lane=lane)


def draw(engine: PicturesEngine, seed: int) -> tuple[MediaFacts, Picture]:
    """Make a picture in the size that the tower takes."""
    side = engine.view(Wishes()).picture.side
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return MediaFacts(bytes(32), Modality.IMAGE, "png", 1, side, side), Picture(pixels)


async def rate(engine: PicturesEngine, count: int) -> float:
    """Let callers embed pictures, each its next one once it has the last; return pictures/s."""
    facts, picture = draw(engine, 1)

    async def caller() -> None:
        for _ in range(count // CALLERS):
            await embed(engine, facts, picture, lane=Lane.BULK)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return count // CALLERS * CALLERS / (time.perf_counter() - begun)


async def waits(action: Callable[[], Awaitable[None]], count: int) -> tuple[float, float]:
    """Do something again and again; return the median and the 99th percentile in ms."""
    durations = []
    for _ in range(count):
        begun = time.perf_counter()
        await action()
        durations.append(time.perf_counter() - begun)
    return quantiles_ms(durations)


async def compare(count: int) -> list[list[str]]:
    """Measure everything in turn on one engine."""
    settings = InferenceSettings()
    folder = weights_dir(load_settings().settings)
    async with (
        open_engine(ALL_MINILM_L6_V2, folder, settings) as texts,
        open_pictures(texts, settings) as engine,
    ):
        facts, picture = draw(engine, 0)

        async def look() -> None:
            await embed(engine, facts, picture, lane=Lane.INTERACTIVE)

        async def ask() -> None:
            await embed(engine, QUESTION, lane=Lane.INTERACTIVE)

        await rate(engine, CALLERS)
        rates = [await rate(engine, count) for _ in range(3)]
        one, alone = await waits(look, count // 4), await waits(ask, count // 4)
        beside = asyncio.create_task(rate(engine, 1000 * count))
        busy = await waits(ask, count // 4)
        beside.cancel()
        with suppress(asyncio.CancelledError):
            await beside
    return [
        ["pictures/s", f"{np.median(rates):,.0f}", f"{min(rates):,.0f} to {max(rates):,.0f}"],
        *(
            [f"{name}, ms", f"{median:.2f}", f"{slow:.2f}"]
            for name, (median, slow) in (
                ("one picture", one),
                ("one text", alone),
                (f"one text while {CALLERS} callers embed pictures", busy),
            )
        ),
    ]


def measure(*, quick: bool = False) -> Section:
    """Measure the embedded pictures in this process."""
    return Section(
        title="The embedded pictures",
        question="How fast is the image encoder that ships, and what does a text wait for beside "
        f"it? Pictures of the size that it takes, {CALLERS} callers, half of the cores for it.",
        columns=["work", "median", "range; or 99th percentile"],
        rows=asyncio.run(compare(256 if quick else 2048)),
        notes=["Reading and decoding files is not in it: other processes do that meanwhile."],
    )
