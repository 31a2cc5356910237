"""
Ranks real photographs for ten captions, with what ships; no figure is made of it.

    .venv/bin/python training/embedded_pictures/photographs.py SITE_PACKAGES

SITE_PACKAGES is where scikit-image and scikit-learn are installed: their wheels hold the
photographs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.contents import MediaFacts, SeenPart, Wishes
from milvane.domain.models import Lane, Modality
from milvane.domain.pictures import Picture, Seen
from milvane.inference.engine import open_engine
from milvane.inference.pictures.engine import PicturesEngine, open_pictures
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import default_folder
from milvane.media.decoding.images import resize

PHOTOGRAPHS = {
    "skimage/data/astronaut.png": "a woman astronaut",
    "skimage/data/chelsea.png": "a cat",
    "skimage/data/coffee.png": "a cup of coffee",
    "skimage/data/rocket.jpg": "a rocket launch",
    "skimage/data/coins.png": "coins",
    "skimage/data/moon.png": "the moon",
    "skimage/data/motorcycle_left.png": "a motorcycle",
    "skimage/data/page.png": "a printed page",
    "sklearn/datasets/images/flower.jpg": "a flower",
    "sklearn/datasets/images/china.jpg": "a Chinese temple",
}
"""By file: the caption that belongs to it."""


async def embed(engine: PicturesEngine, part: SeenPart, *seen: Seen) -> NDArray[np.float32]:
    """Embed a text or a picture."""
    (content,) = await engine.tokenize([[part]], Wishes())
    return await engine.embed(content, seen, dimension=engine.width, lane=Lane.BULK)


async def rank(photographs: Sequence[Path]) -> NDArray[np.float32]:
    """Say how near each caption is to each photograph, shape ``(captions, photographs)``."""
    folder = default_folder(os.environ, Path.home())
    settings = InferenceSettings()
    async with (
        open_engine(ALL_MINILM_L6_V2, folder, settings) as texts,
        open_pictures(texts, settings) as engine,
    ):
        captions = [await embed(engine, caption) for caption in PHOTOGRAPHS.values()]
        rows = []
        for path in photographs:
            with Image.open(path) as image:
                small = resize(image.convert("RGB"), engine.view(Wishes()).picture)
            facts = MediaFacts(bytes(32), Modality.IMAGE, "png", 1, small.width, small.height)
            rows.append(await embed(engine, facts, Picture(np.asarray(small))))
    return np.asarray(np.stack(captions) @ np.stack(rows).T)


def main() -> None:
    """Print, for each caption, the three photographs that are nearest, and where its own stands."""
    site = Path(sys.argv[1])
    near = asyncio.run(rank([site / file for file in PHOTOGRAPHS]))
    names = [Path(file).stem for file in PHOTOGRAPHS]
    for at, caption in enumerate(PHOTOGRAPHS.values()):
        order = np.argsort(-near[at])
        place = int(np.flatnonzero(order == at)[0]) + 1
        first = ", ".join(f"{names[photo]} {near[at, photo]:.2f}" for photo in order[:3])
        print(f"| {caption} | {place} | {first} |")


if __name__ == "__main__":
    main()
