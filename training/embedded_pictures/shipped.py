"""
Measures what ships, as it runs in a server: the held-out style, names through the text model.

    .venv/bin/python training/embedded_pictures/shipped.py DATA
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sources import HELD_OUT

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.contents import MediaFacts, Wishes
from milvane.domain.models import Lane, Modality
from milvane.domain.pictures import Picture
from milvane.inference.engine import open_engine
from milvane.inference.pictures.engine import PicturesEngine, open_pictures
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import default_folder
from milvane.media.decoding.images import resize

MARGIN = 6
"""As in `evaluate`."""


def on_white(pictogram: NDArray[np.uint8]) -> Image.Image:
    """Put a drawing on white, as a browser shows it."""
    square = Image.new("RGBA", (pictogram.shape[1] + 2 * MARGIN,) * 2, "white")
    square.alpha_composite(Image.fromarray(pictogram, "RGBA"), (MARGIN, MARGIN))
    return square.convert("RGB")


async def look(engine: PicturesEngine, pictogram: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed a drawing."""
    small = resize(on_white(pictogram), engine.view(Wishes()).picture)
    facts = MediaFacts(bytes(32), Modality.IMAGE, "png", 1, small.width, small.height)
    (content,) = await engine.tokenize([[facts]], Wishes())
    seen = [Picture(np.asarray(small))]
    return await engine.embed(content, seen, dimension=engine.width, lane=Lane.BULK)


async def read(engine: PicturesEngine, text: str) -> NDArray[np.float32]:
    """Embed a name."""
    (content,) = await engine.tokenize([[text]], Wishes())
    return await engine.embed(content, [], dimension=engine.width, lane=Lane.BULK)


def recall(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> str:
    """Say how often the row that belongs to a query is the nearest, or among the five nearest."""
    similar = queries @ rows.T
    rank = (similar > similar.diagonal()[:, None]).sum(1)
    return f"recall@1 {(rank < 1).mean():.3f}, recall@5 {(rank < 5).mean():.3f}"


async def main() -> None:
    """Print both directions."""
    data = Path(sys.argv[1])
    stored = np.load(data / "pictograms.npz")
    concepts = json.loads((data / "concepts.json").read_bytes())
    unseen = stored["styles"][stored["style"]] == HELD_OUT
    names = [concepts[at]["name"] for at in stored["concept"][unseen]]
    settings = InferenceSettings()
    folder = default_folder(os.environ, Path.home())
    async with (
        open_engine(ALL_MINILM_L6_V2, folder, settings) as texts,
        open_pictures(texts, settings) as engine,
    ):
        pictures = np.stack([await look(engine, pixels) for pixels in stored["pixels"][unseen]])
        words = np.stack([await read(engine, name) for name in names])
    print(len(names), "concepts")
    print("text to image:", recall(words, pictures))
    print("image to text:", recall(pictures, words))


if __name__ == "__main__":
    asyncio.run(main())
