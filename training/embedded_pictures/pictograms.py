"""
Draws every pictogram once, as pixels.

    python pictograms.py DATA    # writes pictograms.npz, concepts.json
"""

from __future__ import annotations

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import resvg_py
from concepts import Finder, drawings_of, read_concepts
from numpy.typing import NDArray
from PIL import Image
from sources import SOURCES

SIDE = 96
"""Pixels that are kept of each drawing."""

DRAWN_SIDE = 192
"""Pixels that a drawing is made at, before it is reduced."""


def draw(drawing: str | Path) -> NDArray[np.uint8]:
    """
    Draw one pictogram, as large as the square lets it be.

    Returns:
        Shape ``(SIDE, SIDE, 4)``, colours not multiplied by their opacity.
    """
    if isinstance(drawing, Path):
        picture = Image.open(drawing)
    else:
        png = resvg_py.svg_to_bytes(svg_string=drawing, width=DRAWN_SIDE, height=DRAWN_SIDE)
        picture = Image.open(io.BytesIO(bytes(png)))
    picture = picture.convert("RGBA")
    box = picture.getchannel("A").getbbox()
    if box is None:
        raise ValueError("nothing is drawn")
    picture = picture.crop(box)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIDE, SIDE))
    square.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return np.asarray(square)


def main() -> None:
    """Draw every style."""
    data = Path(sys.argv[1])
    concepts = read_concepts(data)
    finder = Finder(data, concepts)
    place = {concept.code: at for at, concept in enumerate(concepts)}
    pixels, of_concept, of_style, styles = [], [], [], []
    for source in SOURCES:
        if not source.style:
            continue
        drawings = drawings_of(data, source, finder)
        with ThreadPoolExecutor(1) as pool:
            drawn = list(pool.map(_try, drawings.values()))
        for code, picture in zip(drawings, drawn, strict=True):
            if picture is not None:
                pixels.append(picture)
                of_concept.append(place[code])
                of_style.append(len(styles))
        styles.append(source.style)
        print(source.style, sum(picture is not None for picture in drawn), flush=True)
    np.savez(
        data / "pictograms.npz",
        pixels=np.stack(pixels),
        concept=np.array(of_concept, np.int32),
        style=np.array(of_style, np.int32),
        styles=np.array(styles),
    )
    listed = [asdict(concept) for concept in concepts]
    (data / "concepts.json").write_text(json.dumps(listed, ensure_ascii=False), encoding="utf-8")


def _try(drawing: str | Path) -> NDArray[np.uint8] | None:
    try:
        return draw(drawing)
    except ValueError:
        return None


if __name__ == "__main__":
    main()
