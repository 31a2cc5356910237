"""
The self-test of weights for images: what they gave when first loaded, they must go on giving.

The pictures are drawn from arithmetic, so that they are the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milvane.domain.contents import MediaFacts, SeenPart, Wishes
from milvane.domain.models import Modality
from milvane.domain.pictures import Clip, Picture, Seen
from milvane.inference.contents.ports import Encoder, Network
from milvane.inference.self_test import check_same
from milvane.inference.windowing import normalize_rows

SIZE = (256, 192)
"""Width and height of what is drawn."""
FRAMES, FPS = 4, 2.0
TEXT = "The quick brown fox jumps over the lazy dog."


def check(encoder: Encoder, network: Network, folder: Path, name: str) -> None:
    """
    Compare the vectors of a few contents with those of the first load, or keep them as the first.

    Args:
        encoder: Of the weights.

        network: Theirs.

        folder: Where they lie, and the vectors are kept.

        name: Theirs, for the error.

    Raises:
        Conflict: If the vectors are none, all alike, or not those of the first load.
    """
    contents = _contents(encoder.modalities)
    viewing = encoder.view(Wishes())
    rows = []
    for tokenized, content in zip(encoder.tokenize(contents, Wishes()), contents, strict=True):
        seen: list[Seen] = []
        for part in content:
            if not isinstance(part, MediaFacts):
                continue
            if part.modality is Modality.VIDEO and viewing.clip is not None:
                chosen = viewing.clip.choose(part.frames, part.fps)
                size = viewing.clip.size_of(part.width, part.height, len(chosen))
                frames = np.stack([_draw(*size, phase) for phase in range(len(chosen))])
                seen.append(Clip(frames, tuple(place / FPS for place in chosen)))
            else:
                seen.append(Picture(_draw(*viewing.picture.size_of(part.width, part.height), 0)))
        work = encoder.pack(tokenized, seen)
        given = network.forward([each.load for each in work])
        rows.append(encoder.combine(tokenized, list(given)))
    asked = [f"{'+'.join(map(_title, content))}" for content in contents]
    check_same(
        normalize_rows(np.stack(rows)), folder, name, precision=network.precision, asked=asked
    )


def _contents(modalities: frozenset[Modality]) -> list[Sequence[SeenPart]]:
    image = MediaFacts(hashlib.sha256(b"image").digest(), Modality.IMAGE, "png", 1, *SIZE)
    video = MediaFacts(
        hashlib.sha256(b"video").digest(), Modality.VIDEO, "mp4", 1, *SIZE, FRAMES, FRAMES / FPS
    )
    contents: list[Sequence[SeenPart]] = [[TEXT], ["猫は一日の大半を眠って過ごす。"], [image]]
    contents.append([TEXT, image])
    if Modality.VIDEO in modalities:
        contents.append([video])
    return contents


def _title(part: SeenPart) -> str:
    return part if isinstance(part, str) else part.modality.value


def _draw(width: int, height: int, phase: int) -> NDArray[np.uint8]:
    """Draw slopes and rings; another phase, another picture."""
    across = np.linspace(0, 1, width, dtype=np.float64)[None, :]
    down = np.linspace(0, 1, height, dtype=np.float64)[:, None]
    rings = np.sin(40 * np.hypot(across - 0.5, down - 0.5) + phase) / 2 + 0.5
    channels = [across * np.ones_like(down), down * np.ones_like(across), rings]
    return np.asarray(np.stack(channels, axis=-1) * 255, np.uint8)
