"""Whether the tower is the one that was released, and gives here what it gave there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from milvane.domain.embedded import Embedded
from milvane.domain.errors import Conflict
from milvane.domain.models import Lane
from milvane.inference.calibration import SELF_TEST_TOLERANCE
from milvane.inference.engine import Engine
from milvane.inference.pictures.network import TowerNetwork
from milvane.inference.pictures.tower import Tower, read_tower
from milvane.inference.windowing import normalize_rows

FOLDER = Path(__file__).parent / "weights"
"""Where the file of a tower lies, and its card, and what it should give."""

GOLDEN_TEXT = "a yellow disc on a blue ground"


class Golden(BaseModel):
    """The beginnings of two vectors, as they were when the weights were written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    picture: tuple[float, ...]
    """Of `draw_golden`'s picture."""
    text: tuple[float, ...]
    """Of `GOLDEN_TEXT`."""


def draw_golden(side: int) -> NDArray[np.uint8]:
    """
    Draw a yellow disc on a blue ground that gets lighter downwards.

    Returns:
        Shape ``(side, side, 3)``.
    """
    places = (np.arange(side) + 0.5) / side
    down, across = np.meshgrid(places, places, indexing="ij")
    blue = np.stack([40 + 60 * down, 80 + 60 * down, 160 + 80 * down], axis=2)
    is_disc = (across - 0.5) ** 2 + (down - 0.45) ** 2 < 0.1
    return np.where(is_disc[..., None], (250, 210, 50), blue).astype(np.uint8)


def read_weights(weights: Embedded, folder: Path | None = None) -> Tower:
    """
    Read a tower, if it is the one that the catalogue names.

    Raises:
        Conflict: If its file is missing, is another one, or is no tower.
    """
    path = (folder or FOLDER) / weights.file
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Conflict(f"{path} cannot be read: install Milvane again") from error
    if digest != weights.sha256:
        raise Conflict(f"{path} is damaged, or another one: install Milvane again")
    return read_tower(path)


async def check_golden(
    texts: Engine, tower: Tower, network: TowerNetwork, weights: Embedded, folder: Path | None
) -> None:
    """
    Embed a known picture and a known text, and compare.

    Raises:
        Conflict: If the text model is not the one that the tower was made for, or one of the two
            vectors is too far from what it should be.
    """
    if texts.facts.weights != weights.text_weights:
        raise Conflict(
            f"{weights.name} goes with the text model {weights.text_weights}, not with "
            f"{texts.facts.weights}"
        )
    path = (folder or FOLDER) / "golden.json"
    try:
        golden = Golden.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise Conflict(f"{path} cannot be read: install Milvane again") from error
    for name, expected, vector in (
        ("picture", golden.picture, normalize_rows(network.forward([draw_golden(tower.side)]))[0]),
        ("text", golden.text, await embed_golden(texts, tower)),
    ):
        deviation = float(np.abs(vector[: len(expected)] - np.array(expected)).max())
        if not deviation <= SELF_TEST_TOLERANCE:
            raise Conflict(
                f"{weights.name} gives wrong vectors here (the known {name} is off by "
                f"{deviation:.3f}): install Milvane again, and report it if that does not help"
            )


async def embed_golden(texts: Engine, tower: Tower) -> NDArray[np.float32]:
    """Embed the known text into the tower's space."""
    token_ids = await texts.tokenize([GOLDEN_TEXT], purpose=None)
    rows = await texts.embed(token_ids, dimension=tower.width, lane=Lane.INTERACTIVE)
    return np.asarray(normalize_rows(rows @ tower.texts.T)[0])
