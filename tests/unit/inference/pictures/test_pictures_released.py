"""The tower that ships, beside the default text model: what it finds among drawn fruit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from drawing import (
    LINEN,
    SLATE,
    WHITE,
    Colour,
    draw_bananas,
    draw_oranges,
    pan,
)
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.contents import MediaFacts, SeenPart, Wishes
from milvane.domain.embedded import EMBEDDED_PICTURES
from milvane.domain.models import Lane, Modality
from milvane.domain.pictures import Clip, Picture, Seen
from milvane.inference.engine import open_engine
from milvane.inference.pictures.checking import FOLDER
from milvane.inference.pictures.engine import PicturesEngine, open_pictures
from milvane.inference.settings import InferenceSettings
from milvane.media.decoding.images import resize
from weights import default_weights_dir

SETTINGS = InferenceSettings(threads=1)
LARGEST = 12_000_000
BANANAS = ("yellow bananas", "a banana")
ORANGES = ("oranges", "an orange")
GROUNDS: tuple[Colour, ...] = (LINEN, SLATE, WHITE)


def shrink(engine: PicturesEngine, picture: Image.Image) -> NDArray[np.uint8]:
    """Make a picture as large as the tower takes it."""
    return np.asarray(resize(picture.convert("RGB"), engine.view(Wishes()).picture))


async def embed(engine: PicturesEngine, part: SeenPart, *seen: Seen) -> NDArray[np.float32]:
    """Embed one text, picture or video."""
    (content,) = await engine.tokenize([[part]], Wishes())
    return await engine.embed(content, seen, dimension=1024, lane=Lane.INTERACTIVE)


async def look(engine: PicturesEngine, picture: Image.Image) -> NDArray[np.float32]:
    """Embed a picture."""
    facts = MediaFacts(bytes(32), Modality.IMAGE, "png", 1, picture.width, picture.height)
    return await embed(engine, facts, Picture(shrink(engine, picture)))


async def watch(engine: PicturesEngine, picture: Image.Image) -> NDArray[np.float32]:
    """Embed a video that moves over a picture."""
    frames = np.stack([shrink(engine, frame) for frame in pan(picture, 6)])
    facts = MediaFacts(bytes(32), Modality.VIDEO, "mp4", 1, 480, 360, frames=6, duration_s=6.0)
    return await embed(engine, facts, Clip(frames, tuple(map(float, range(6)))))


@dataclass(frozen=True, slots=True)
class Shelf:
    """Vectors of drawn fruit, of videos and of words for it."""

    bananas: NDArray[np.float32]
    oranges: NDArray[np.float32]
    banana_video: NDArray[np.float32]
    orange_video: NDArray[np.float32]
    texts: Mapping[str, NDArray[np.float32]]


async def fill() -> Shelf:
    """Embed everything, with what everybody gets who downloads nothing for images."""
    async with (
        open_engine(ALL_MINILM_L6_V2, default_weights_dir(), SETTINGS) as texts,
        open_pictures(texts, SETTINGS) as engine,
    ):
        laid = [(count, ground) for count in (1, 3) for ground in GROUNDS]
        return Shelf(
            bananas=np.stack([await look(engine, draw_bananas(n, ground=g)) for n, g in laid]),
            oranges=np.stack([await look(engine, draw_oranges(n, ground=g)) for n, g in laid]),
            banana_video=await watch(engine, draw_bananas(3, ground=SLATE)),
            orange_video=await watch(engine, draw_oranges(3, ground=SLATE)),
            texts={text: await embed(engine, text) for text in (*BANANAS, *ORANGES)},
        )


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """What all of these tests look at."""
    return asyncio.run(fill())


@pytest.mark.parametrize("text", [*BANANAS, *ORANGES])
def test_text_finds_the_fruit_that_it_names(shelf: Shelf, text: str) -> None:
    """Of drawn bananas and oranges on three grounds, all that are named come first."""
    named, others = shelf.bananas, shelf.oranges
    if text in ORANGES:
        named, others = others, named
    assert (named @ shelf.texts[text]).min() > (others @ shelf.texts[text]).max()


@pytest.mark.parametrize("kind", ["oranges", "bananas"])
def test_picture_finds_its_kind(shelf: Shelf, kind: str) -> None:
    """A drawn fruit finds itself, then its like in the same number on other grounds."""
    kinds = {"oranges": shelf.oranges, "bananas": shelf.bananas}
    rows = np.concatenate([kinds.pop(kind), *kinds.values()])
    for number, look in enumerate(rows[: 2 * len(GROUNDS)]):
        near = rows @ look
        first = np.argsort(-near)[: len(GROUNDS)]
        assert round(float(near[number]), 4) == 1.0
        assert {place // len(GROUNDS) for place in first} == {number // len(GROUNDS)}


def test_video_is_found_by_text_and_by_picture(shelf: Shelf) -> None:
    """A video of bananas is nearer to the word and to a picture of them than one of oranges is."""
    for looking in (shelf.texts["yellow bananas"], shelf.bananas[0]):
        assert shelf.banana_video @ looking > shelf.orange_video @ looking


def test_file_is_small_and_as_the_catalogue_says() -> None:
    """What ships is at most 12 MB, and lies where the package is built from, with its card."""
    path = FOLDER / EMBEDDED_PICTURES.file
    assert path.stat().st_size == EMBEDDED_PICTURES.size_bytes <= LARGEST
    assert "Attribution" in (FOLDER / "README.md").read_text(encoding="utf-8")
