"""
What a precision costs a set of weights: its vectors beside those of another, on the same texts.

Nothing but a network's own numbers says what fewer bits cost it, so it is measured on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milvane.domain.catalogue import Weights
from milvane.inference.batching import round_up
from milvane.inference.encoders.recipe import read_recipe
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.runtimes.opening import open_runtime
from milvane.inference.runtimes.port import Runtime
from milvane.inference.self_test import SELF_TEST_TEXTS
from milvane.inference.settings import Precision
from milvane.inference.weights import find
from milvane.inference.windowing import normalize_rows

PASS_INPUTS = 8

COMPARED_TEXTS = (
    *SELF_TEST_TEXTS,
    "How do I reset the password of my account?",
    "To set a new password, open the settings, choose Security, and follow the link in the mail.",
    "The central bank raised its key rate by a quarter point, and the currency gained two percent.",
    "Der Vertrag verlängert sich um ein Jahr, wenn er nicht drei Monate vor Ablauf gekündigt wird.",
    "La receta lleva dos huevos, cien gramos de azúcar y la ralladura de un limón.",
    "人工智能正在改变医学影像的诊断方式。",
    "def mean(values):\n    return sum(values) / len(values)",
    "SELECT name, price FROM products WHERE stock > 0 ORDER BY price LIMIT 10;",
    "error: connection to 10.0.0.12 port 5432 refused after 30 s",
    "Patients with a history of asthma were excluded from the second trial.",
    "cheap flights to Lisbon in May",
    "The bridge, finished in 1883, was at the time the longest suspension bridge in the world.",
)
"""Of the kinds that people search: questions, prose, code, records, in several languages."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near the vectors of one precision are to those of another."""

    precision: str
    least_cosine: float
    median_cosine: float
    neighbours_kept: float
    """Share of the texts that have the same nearest other text."""


def compare_precisions(
    weights: Weights,
    weights_dir: Path,
    precisions: Sequence[Precision],
    *,
    reference: Precision,
    texts: Sequence[str] = COMPARED_TEXTS,
    threads: int = 0,
) -> Iterator[Likeness]:
    """
    Embed texts in each precision, one network in memory at a time. Blocks.

    Args:
        weights: Of a family of texts.

        weights_dir: Where sets live.

        precisions: Compared with the reference, in this order.

        reference: What they are compared with.

        texts: At least three; longer ones than a window are cut.

        threads: As in the settings.

    Raises:
        ServiceError: If the weights are not here, or cannot be run in one of the precisions.
    """
    folder = find(weights, weights_dir)
    recipe = read_recipe(folder)
    encoder = TextEncoder(folder, recipe, weights.window_tokens)

    def embed(precision: Precision) -> NDArray[np.float32]:
        runtime = open_runtime(folder, recipe, threads=threads, precision=precision)
        try:
            return _embed(encoder, runtime, texts)
        finally:
            runtime.close()

    known = embed(reference)
    for precision in precisions:
        yield compare_vectors(precision, embed(precision), known)


def compare_vectors(
    precision: str, vectors: NDArray[np.float32], known: NDArray[np.float32]
) -> Likeness:
    """
    Compare vectors of the same texts.

    Args:
        precision: Of the first ones.

        vectors: Rows of length 1, shape ``(texts, width)``.

        known: What they should be, of the same shape.
    """
    cosines = np.einsum("ij,ij->i", vectors, known)
    kept = _nearest(vectors) == _nearest(known)
    return Likeness(precision, float(cosines.min()), float(np.median(cosines)), float(kept.mean()))


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return np.asarray(cosines.argmax(axis=1), np.int64)


def _embed(encoder: TextEncoder, runtime: Runtime, texts: Sequence[str]) -> NDArray[np.float32]:
    inputs = [encoder.frame(ids[: encoder.content_tokens]) for ids in encoder.tokenize(texts)]
    rows = []
    for start in range(0, len(inputs), PASS_INPUTS):
        part = inputs[start : start + PASS_INPUTS]
        lengths = np.array([len(ids) for ids in part], np.int32)
        padded = np.zeros((len(part), round_up(int(lengths.max()))), np.int32)
        for row, ids in enumerate(part):
            padded[row, : len(ids)] = ids
        rows.append(runtime.forward(padded, lengths)[:, : runtime.width])
    return normalize_rows(np.concatenate(rows))
