"""Tiny towers with random numbers, in the layout of the one that ships."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from milvane.domain.embedded import Embedded
from milvane.inference.engine import Engine
from milvane.inference.pictures.checking import Golden, draw_golden, embed_golden
from milvane.inference.pictures.network import TowerNetwork
from milvane.inference.pictures.tower import FORMAT, read_tower
from milvane.inference.windowing import normalize_rows

SIDE = 32
LAYERS = [[(4, 3)], [(1, 1), (1, 1)], [(2, 1)], [(1, 1), (1, 1)]]
"""Stride and padding of each convolution: an entry, a block, an entry, a block."""
CHANNELS = [3, 8, 8, 12, 12]


def write_tower(folder: Path, *, width: int, seed: int = 0, text_weights: str) -> Embedded:
    """Write a tower with random numbers, without what it should give."""
    random = np.random.default_rng(seed)

    def numbers(*shape: int) -> NDArray[np.float16]:
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return (random.standard_normal(shape) * scale * 1.5).astype(np.float16)

    tensors = {
        "head.weight": numbers(width, CHANNELS[-1]),
        "head.bias": np.zeros(width, np.float16),
        "texts.weight": (np.eye(width) + 0.05 * numbers(width, width)).astype(np.float16),
    }
    for at, steps in enumerate(LAYERS):
        kernel = 7 if at == 0 else 3
        inputs = CHANNELS[at]
        for part, _ in enumerate(steps):
            shape = (CHANNELS[at + 1], inputs, kernel, kernel)
            tensors[f"layers.{at}.{part}.kernel"] = numbers(*shape)
            tensors[f"layers.{at}.{part}.bias"] = np.full(shape[0], 0.1, np.float16)
            inputs = CHANNELS[at + 1]
    layers = [[{"stride": stride, "padding": pad} for stride, pad in steps] for steps in LAYERS]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tower.safetensors"
    metadata = {"format": FORMAT, "layers": json.dumps(layers), "side": str(SIDE)}
    save_file(tensors, path, metadata)
    return Embedded(
        name="tiny-tower",
        version="1",
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
        licence="none",
        width=width,
        text_weights=text_weights,
        note="random numbers",
    )


async def seal(folder: Path, texts: Engine, weights: Embedded) -> None:
    """Write what a tower gives now as what it should give."""
    tower = read_tower(folder / weights.file)
    network = TowerNetwork(tower, threads=1)
    picture = normalize_rows(network.forward([draw_golden(tower.side)]))[0]
    text = await embed_golden(texts, tower)
    golden = Golden(picture=tuple(map(float, picture)), text=tuple(map(float, text)))
    (folder / "golden.json").write_text(golden.model_dump_json(), encoding="utf-8")
