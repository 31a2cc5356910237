"""
Measure what smaller and larger dimensions cost, as the table of docs/explanation/dimensions.md.

    python training/adapt_dimensions/measure.py stsb-en-dev.csv

The file holds sentence pairs with a human score: sentence, sentence, score. They must not be among
the texts that the rotation was computed from.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vectors import WEIGHTS, embed_unrotated

from milvane.inference.adapting import adapt
from milvane.inference.calibration import read_calibration

DIMENSIONS = (64, 128, 256, 384, 1024)
NEIGHBOURS = 10
SEED = 0

Floats = NDArray[np.float32]


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="CSV file: sentence, sentence, score")
    with parser.parse_args().pairs.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    sentences = [row[0] for row in rows] + [row[1] for row in rows]
    scores = np.array([float(row[2]) for row in rows])
    vectors = asyncio.run(embed_unrotated(sentences))
    bases = {"plain cut": None, "random rotation": random_rotation(vectors.shape[1])}
    bases["rotation that ships"] = read_calibration(WEIGHTS).basis
    whole = nearest(vectors)
    print("| dimension |", " | ".join(bases), "|")
    print("| --- |" + " --- |" * len(bases))
    for dimension in DIMENSIONS:
        cells = []
        for basis in bases.values():
            adapted = adapt(vectors, dimension, basis)
            cosines = np.einsum("ij,ij->i", *np.split(adapted, 2))
            kept = (nearest(adapted)[:, :, None] == whole[:, None, :]).any(axis=2).mean()
            cells.append(f"{100 * spearman(cosines, scores):.2f} / {100 * kept:.0f} %")
        print(f"| {dimension} |", " | ".join(cells), "|")


def random_rotation(width: int) -> Floats:
    """Draw a rotation, the same one each time."""
    normal = np.random.default_rng(SEED).standard_normal((width, width))
    return np.asarray(np.linalg.qr(normal)[0], np.float32)


def nearest(vectors: Floats) -> NDArray[np.int64]:
    """
    Find each row's nearest other rows.

    Returns:
        Their positions, in no order, shape ``(rows, NEIGHBOURS)``.
    """
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2.0)
    return np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def spearman(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Correlate the ranks of two series; equal values share their mean rank."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rank values from 0; equal ones get their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts + 1) / 2)[inverse])


if __name__ == "__main__":
    main()
