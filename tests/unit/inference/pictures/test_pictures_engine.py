"""The engine of texts, pictures and videos, with tiny networks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from checkpoints import install_tiny_bert
from milvane.domain.contents import ContentTokens, MediaFacts, SeenPart, Wishes
from milvane.domain.embedded import Embedded
from milvane.domain.errors import Conflict, Internal, Overloaded
from milvane.domain.models import Lane, Modality, Purpose
from milvane.domain.pictures import Clip, Fit, Picture, Seen
from milvane.inference.engine import Engine, open_engine
from milvane.inference.pictures.engine import PicturesEngine, open_pictures
from milvane.inference.settings import InferenceSettings
from towers import SIDE, seal, write_tower

SETTINGS = InferenceSettings(precision="f32", threads=1)
WIDTH = 32
CELLS = 16


def facts(digest: int, modality: Modality = Modality.IMAGE, **told: float) -> MediaFacts:
    """Describe media whose bytes nobody needs here."""
    return MediaFacts(bytes([digest] * 32), modality, "png", 100, 64, 64, **told)  # type: ignore[arg-type]


def picture(seed: int) -> NDArray[np.uint8]:
    """Make a picture of blotches, the same each time."""
    blotches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return blotches.repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)


@asynccontextmanager
async def opened(
    folder: Path, settings: InferenceSettings = SETTINGS
) -> AsyncIterator[tuple[PicturesEngine, Engine]]:
    """Open tiny networks of texts and of pictures."""
    weights = install_tiny_bert(folder / "texts")
    tower = write_tower(folder / "tower", width=WIDTH, text_weights="tiny-bert")
    async with open_engine(weights, folder / "texts", SETTINGS) as texts:
        await seal(folder / "tower", texts, tower)
        async with open_pictures(texts, settings, weights=tower, folder=folder / "tower") as engine:
            yield engine, texts


async def embed(
    engine: PicturesEngine, parts: list[SeenPart], *seen: Seen, dimension: int = WIDTH
) -> NDArray[np.float32]:
    """Embed one content as a server does."""
    (content,) = await engine.tokenize([parts], Wishes())
    return await engine.embed(content, seen, dimension=dimension, lane=Lane.INTERACTIVE)


async def test_text_is_the_text_models_vector_projected(tmp_path: Path) -> None:
    """A text's vector is near what the text model gives, for the projection is near nothing."""
    async with opened(tmp_path) as (engine, texts):
        found = await embed(engine, ["the cat sat on the mat"])
        ids = await texts.tokenize(["the cat sat on the mat"], purpose=Purpose.DOCUMENT)
        (own,) = await texts.embed(ids, dimension=WIDTH, lane=Lane.BULK)
    assert 0.9 < float(found @ own) < 1.0001


async def test_video_is_the_mean_of_its_frames(tmp_path: Path) -> None:
    """Each frame counts the same, whatever the length of its vector."""
    frames = np.stack([picture(seed) for seed in range(3)])
    video = facts(1, Modality.VIDEO, frames=3, duration_s=3.0)
    async with opened(tmp_path) as (engine, _):
        alone = [await embed(engine, [facts(2)], Picture(frame)) for frame in frames]
        whole = await embed(engine, [video], Clip(frames, (0.0, 1.0, 2.0)))
    mean = np.mean(alone, axis=0)
    np.testing.assert_allclose(whole, mean / np.linalg.norm(mean), atol=1e-5)


async def test_fused_parts_count_the_same(tmp_path: Path) -> None:
    """A text and an image together become the mean of what each gives alone."""
    async with opened(tmp_path) as (engine, _):
        text = await embed(engine, ["the dog"])
        image = await embed(engine, [facts(1)], Picture(picture(1)))
        both = await embed(engine, ["the dog", facts(1)], Picture(picture(1)))
    np.testing.assert_allclose(both, (text + image) / np.linalg.norm(text + image), atol=1e-5)


@pytest.mark.parametrize("dimension", [8, 32, 64])
async def test_dimensions_are_cut_or_filled_up(tmp_path: Path, dimension: int) -> None:
    """A vector of any width has length 1 and begins as the whole one does."""
    async with opened(tmp_path) as (engine, _):
        whole = await embed(engine, [facts(1)], Picture(picture(1)))
        found = await embed(engine, [facts(1)], Picture(picture(1)), dimension=dimension)
    assert found.shape == (dimension,)
    assert float(np.linalg.norm(found)) == pytest.approx(1, abs=1e-5)
    kept = min(dimension, WIDTH)
    np.testing.assert_allclose(found[:kept], whole[:kept] / np.linalg.norm(whole[:kept]), atol=1e-5)


async def test_pictures_of_many_callers_share_passes(tmp_path: Path) -> None:
    """Twenty callers at once are served in far fewer passes, each with its own vector."""
    async with opened(tmp_path) as (engine, _):
        pictures = [picture(seed) for seed in range(20)]
        calls = [embed(engine, [facts(1)], Picture(pixels)) for pixels in pictures]
        together = await asyncio.gather(*calls)
        passes = engine.counts.passes
        alone = [await embed(engine, [facts(1)], Picture(pixels)) for pixels in pictures]
    assert passes <= 10
    np.testing.assert_allclose(together, alone, atol=1e-5)


async def test_usage_counts_cells_and_frames(tmp_path: Path) -> None:
    """An image counts as the cells of the last map, a video as those of the frames looked at."""
    video = facts(1, Modality.VIDEO, frames=300, duration_s=10.0)
    async with opened(tmp_path) as (engine, _):
        (content,) = await engine.tokenize([["the cat", facts(2), video]], Wishes())
        (short,) = await engine.tokenize([[video]], Wishes(max_frames=4))
    assert content.tokens == ContentTokens(text=2, image=CELLS, video=10 * CELLS)
    assert short.tokens == ContentTokens(video=4 * CELLS)


async def test_keys_tell_contents_apart(tmp_path: Path) -> None:
    """Equal contents have equal keys; other texts, pictures, frames or orders have others."""
    video = facts(1, Modality.VIDEO, frames=300, duration_s=10.0)
    async with opened(tmp_path) as (engine, _):
        contents: list[list[SeenPart]] = [
            ["the cat"], ["the dog"], [facts(1)], [facts(2)], [video],
            ["the cat", facts(1)], [facts(1), "the cat"],
        ]  # fmt: skip
        first = [content.key for content in await engine.tokenize(contents, Wishes())]
        again = [content.key for content in await engine.tokenize(contents, Wishes())]
        (fewer,) = await engine.tokenize([[video]], Wishes(max_frames=2))
    assert first == again
    assert len({*first, fewer.key}) == len(contents) + 1


async def test_pictures_are_wanted_whole_in_a_square(tmp_path: Path) -> None:
    """Nothing is cut off a picture; a wish for more frames is passed on."""
    async with opened(tmp_path) as (engine, _):
        viewing = engine.view(Wishes(fps=2, max_frames=5))
    assert (viewing.picture.fit, viewing.picture.side) == (Fit.CONTAIN, SIDE)
    assert viewing.clip is not None
    assert viewing.clip.choose(300, 30) == (0, 75, 150, 224, 299)


async def test_full_queue_refuses(tmp_path: Path) -> None:
    """Once as many pictures wait as may, the next caller is told to come back."""
    settings = InferenceSettings(precision="f32", threads=1, max_pending_inputs=1)
    async with opened(tmp_path, settings) as (engine, _):
        calls = [embed(engine, [facts(1)], Picture(picture(seed))) for seed in range(12)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert refused
    assert len(refused) < len(answers)


async def test_picture_of_another_size_is_an_error_of_ours(tmp_path: Path) -> None:
    """Pixels that were not made as asked for are never stretched in silence."""
    async with opened(tmp_path) as (engine, _):
        with pytest.raises(Internal, match="32 x 32"):
            await embed(engine, [facts(1)], Picture(np.zeros((8, 8, 3), np.uint8)))
        with pytest.raises(Internal, match="another number"):
            await embed(engine, [facts(1)])


async def test_fingerprint_changes_with_the_tower(tmp_path: Path) -> None:
    """Other numbers in the tower give another space, and never the text model's own."""
    async with opened(tmp_path / "one") as (engine, texts):
        before = (engine.fingerprint, engine.space)
        assert texts.space != engine.space
    weights = install_tiny_bert(tmp_path / "texts")
    tower = write_tower(tmp_path / "tower", width=WIDTH, seed=1, text_weights="tiny-bert")
    async with open_engine(weights, tmp_path / "texts", SETTINGS) as texts:
        await seal(tmp_path / "tower", texts, tower)
        async with open_pictures(
            texts, SETTINGS, weights=tower, folder=tmp_path / "tower"
        ) as engine:
            assert engine.fingerprint != before[0]
            assert engine.space != before[1]


@pytest.mark.parametrize("trouble", ["damaged", "missing", "wrong", "unsealed", "other texts"])
async def test_wrong_tower_is_refused(tmp_path: Path, trouble: str) -> None:
    """Bytes that are not the released ones, or vectors that are wrong, never serve anybody."""
    weights = install_tiny_bert(tmp_path)
    folder = tmp_path / "tower"
    tower = write_tower(folder, width=WIDTH, text_weights="tiny-bert")
    async with open_engine(weights, tmp_path, SETTINGS) as texts:
        await seal(folder, texts, tower)
        tower = _spoil(folder, tower, trouble)
        with pytest.raises(Conflict, match=r"tower|golden"):
            async with open_pictures(texts, SETTINGS, weights=tower, folder=folder):
                pass


def _spoil(folder: Path, tower: Embedded, trouble: str) -> Embedded:
    path = folder / tower.file
    if trouble == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    elif trouble == "missing":
        path.unlink()
    elif trouble == "wrong":
        return write_tower(folder, width=WIDTH, seed=5, text_weights="tiny-bert")
    elif trouble == "unsealed":
        (folder / "golden.json").write_text("{}", encoding="utf-8")
    else:
        return replace(tower, text_weights="another")
    return tower
