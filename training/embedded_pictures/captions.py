"""
Writes captions of every concept and scene, and their vectors by the default text model.

    .venv/bin/python training/embedded_pictures/captions.py DATA    # writes captions.npz

Runs where Milvane is installed; the rest of the recipe has requirements of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from concepts import THINGS
from numpy.typing import NDArray
from sources import HELD_OUT
from words import article, name_colour, plural

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.models import Lane
from milvane.inference.downloads import pull
from milvane.inference.engine import open_engine
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import default_folder

VARIANTS = 12
"""Captions of each concept; the first is its name alone."""

SEED = 9
ALONE = 4_000
"""Definitions of WordNet whose vectors say what the projection of texts does to texts."""


def concept_captions(
    concept: dict[str, object], colour: str | None, random: np.random.Generator
) -> list[str]:
    """Write the captions of a concept, `VARIANTS` of them."""
    name = str(concept["name"])
    keywords = [str(word) for word in concept["keywords"]]  # type: ignore[attr-defined]
    texts = [name, name, f"a picture of {article(name)}", f"a drawing of {article(name)}"]
    texts.append(f"a photo of {article(name)}")
    texts.append(", ".join([name, *keywords[:4]]))
    if concept["group"] in THINGS:
        texts += [plural(name), article(name)]
        if colour:
            texts += [f"{article(colour)} {name}", f"{colour} {plural(name)}"]
    while len(texts) < VARIANTS:
        drawn = random.permutation(keywords)[:3]
        texts.append(
            ", ".join([name, *drawn] if random.random() < 0.6 or len(drawn) < 2 else drawn)
        )
    return texts[:VARIANTS]


def natural_colours(data: Path, count: int) -> list[str | None]:
    """Name each concept's colour, where most of its styles agree on one."""
    stored = np.load(data / "pictograms.npz")
    trained = stored["styles"][stored["style"]] != HELD_OUT
    seen: list[list[str | None]] = [[] for _ in range(count)]
    pixels, of_concept = stored["pixels"][trained], stored["concept"][trained]
    for concept, drawing in zip(of_concept, pixels, strict=True):
        seen[concept].append(name_colour(drawing))
    return [
        max(set(names), key=names.count)
        if names and names.count(max(set(names), key=names.count)) > len(names) / 2
        else None
        for names in seen
    ]


async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts as the server does: rows of length 1."""
    folder = default_folder(os.environ, Path.home())
    pull(ALL_MINILM_L6_V2, folder)
    settings = InferenceSettings(precision="f32", threads=1)
    rows = []
    async with open_engine(ALL_MINILM_L6_V2, folder, settings) as engine:
        for start in range(0, len(texts), 4096):
            token_ids = await engine.tokenize(texts[start : start + 4096], purpose=None)
            vectors = await engine.embed(
                token_ids, dimension=ALL_MINILM_L6_V2.width, lane=Lane.BULK
            )
            rows.append(vectors)
    return np.concatenate(rows)


def definitions(wordnet: Path, random: np.random.Generator) -> list[str]:
    """Draw definitions of nouns from WordNet, if it is there."""
    table = wordnet / "data.noun"
    if not table.is_file():
        return []
    lines = table.read_text(encoding="utf-8").splitlines()
    glosses = [line.partition("| ")[2].partition(";")[0].strip() for line in lines if "| " in line]
    return [glosses[at] for at in random.permutation(len(glosses))[:ALONE]]


def main() -> None:
    """Write and embed all captions."""
    data = Path(sys.argv[1])
    random = np.random.default_rng(SEED)
    concepts = json.loads((data / "concepts.json").read_bytes())
    colours = natural_colours(data, len(concepts))
    of_concepts = [
        concept_captions(concept, colour, random)
        for concept, colour in zip(concepts, colours, strict=True)
    ]
    scenes = json.loads((data / "scenes.json").read_bytes())
    plain = definitions(Path("/usr/share/wordnet"), random)
    texts = [text for texts in [*of_concepts, *scenes] for text in texts] + plain
    unique = sorted(set(texts))
    place = {text: at for at, text in enumerate(unique)}
    print(len(texts), "captions,", len(unique), "different", flush=True)
    vectors = asyncio.run(embed(unique)).astype(np.float16)
    np.savez(
        data / "captions.npz",
        vectors=vectors,
        concepts=np.array([[place[text] for text in texts] for texts in of_concepts], np.int32),
        scenes=np.array([[place[text] for text in texts] for texts in scenes], np.int32),
        alone=np.array([place[text] for text in plain], np.int32),
    )
    (data / "captions.json").write_text(json.dumps(unique, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
