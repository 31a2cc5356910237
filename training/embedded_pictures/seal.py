"""
Notes what the exported tower gives for a known picture and text; prints what the catalogue says.

    .venv/bin/python training/embedded_pictures/seal.py
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.embedded import EMBEDDED_PICTURES
from milvane.inference.engine import open_engine
from milvane.inference.pictures.checking import FOLDER, draw_golden, embed_golden
from milvane.inference.pictures.network import TowerNetwork
from milvane.inference.pictures.tower import read_tower
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import default_folder
from milvane.inference.windowing import normalize_rows

COMPONENTS = 32
"""Of each vector that are noted."""


async def main() -> None:
    """Write `golden.json`."""
    path = FOLDER / EMBEDDED_PICTURES.file
    tower = read_tower(path)
    network = TowerNetwork(tower, threads=1)
    picture = normalize_rows(network.forward([draw_golden(tower.side)]))[0]
    folder = default_folder(os.environ, Path.home())
    settings = InferenceSettings(precision="f32")
    async with open_engine(ALL_MINILM_L6_V2, folder, settings) as texts:
        text = await embed_golden(texts, tower)
    golden = {
        name: [round(float(value), 5) for value in vector[:COMPONENTS]]
        for name, vector in (("picture", picture), ("text", text))
    }
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f'sha256="{digest}",\nsize_bytes={path.stat().st_size:_},')


if __name__ == "__main__":
    asyncio.run(main())
