"""
Compute the rotation that ships with the default weights, from the texts of WordNet.

    python training/adapt_dimensions/train.py /usr/share/wordnet basis.npy
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vectors import embed_unrotated

SEED = 0
DEFINITIONS = 40_000
EXAMPLES = 20_000
MIN_EXAMPLE_CHARACTERS = 12


def main() -> None:
    """Read the texts, embed them, and write the rotation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wordnet", type=Path, help="folder with WordNet's data.* files")
    parser.add_argument("output", type=Path, help="the .npy file to write")
    arguments = parser.parse_args()
    texts = choose_texts(arguments.wordnet)
    basis = principal_components(asyncio.run(embed_unrotated(texts)))
    np.save(arguments.output, basis.astype(np.float16))
    print(f"{len(texts)} texts -> {arguments.output}, {basis.shape}")


def choose_texts(wordnet: Path) -> list[str]:
    """Draw definitions and example sentences at random, the same ones each time."""
    definitions: list[str] = []
    examples: list[str] = []
    for gloss in read_glosses(wordnet):
        examples += re.findall(rf'"([^"]{{{MIN_EXAMPLE_CHARACTERS},}})"', gloss)
        definition = re.sub(r';?\s*"[^"]*"?', "", gloss).strip(" ;")
        if definition:
            definitions.append(definition)
    random = np.random.default_rng(SEED)
    drawn = [definitions[i] for i in random.permutation(len(definitions))[:DEFINITIONS]]
    return drawn + [examples[i] for i in random.permutation(len(examples))[:EXAMPLES]]


def read_glosses(wordnet: Path) -> Iterator[str]:
    """Read what stands behind the bar of each entry: a definition, then quoted examples."""
    for part in ("noun", "verb", "adj", "adv"):
        with (wordnet / f"data.{part}").open(encoding="utf-8") as lines:
            for line in lines:
                _, bar, gloss = line.partition("|")
                if bar and not line.startswith("  "):  # the licence stands in front, indented
                    yield gloss.strip()


def principal_components(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """
    Order directions by how much of the vectors lies in them; the mean is not taken away.

    Cosines are taken of vectors as they are, so what must be kept is their length, not their
    variance.

    Args:
        vectors: Rows of length 1, shape ``(texts, width)``.

    Returns:
        Orthonormal, shape ``(width, width)``, a direction per row, the richest first; of each
        row, the component of the largest size is positive.
    """
    wide = vectors.astype(np.float64)
    _, columns = np.linalg.eigh(wide.T @ wide)
    rows = columns[:, ::-1].T
    largest = np.abs(rows).argmax(axis=1)
    return np.asarray(rows * np.sign(rows[np.arange(len(rows)), largest])[:, None])


if __name__ == "__main__":
    main()
