"""The network's own vectors of texts, before any rotation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.models import Lane
from milvane.inference.calibration import read_calibration
from milvane.inference.downloads import pull
from milvane.inference.engine import open_engine
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import default_folder

WEIGHTS = ALL_MINILM_L6_V2


async def embed_unrotated(texts: Sequence[str]) -> NDArray[np.float32]:
    """
    Embed texts with the default weights, and undo the rotation that ships with them.

    Returns:
        Rows of length 1, shape ``(texts, width)``.
    """
    folder = default_folder(os.environ, Path.home())
    pull(WEIGHTS, folder)
    async with open_engine(WEIGHTS, folder, InferenceSettings(precision="f32")) as engine:
        token_ids = await engine.tokenize(texts)
        vectors = await engine.embed(token_ids, dimension=WEIGHTS.width, lane=Lane.BULK)
    basis = read_calibration(WEIGHTS).basis
    return vectors if basis is None else np.asarray(vectors @ basis)
