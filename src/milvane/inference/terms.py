"""Sparse vectors from the weights that a learned head gives to tokens. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from milvane.domain.vectors import SparseVector


def gather_terms(
    token_ids: Sequence[NDArray[np.int32]],
    weights: Sequence[NDArray[np.float32]],
    counts: Sequence[int],
    silent: NDArray[np.int32],
) -> list[SparseVector]:
    """
    Make one sparse vector per text from its windows' tokens: a term weighs what it weighs at most.

    That is how BGE-M3 and gte-multilingual define their sparse vectors (Chen et al., BGE
    M3-Embedding, 2024, section 3.2).

    Args:
        token_ids: Of each window, special tokens included.

        weights: Of each window's tokens, from 0 up.

        counts: Windows of each text, each at least 1.

        silent: Ids that are no terms.

    Returns:
        For each text its terms, by ascending id; those of weight 0 are left out.
    """
    vectors, start = [], 0
    for count in counts:
        windows = slice(start, start + count)
        start += count
        vectors.append(_gather(np.concatenate(token_ids[windows]),
                               np.concatenate(weights[windows]), silent))  # fmt: skip
    return vectors


def _gather(
    ids: NDArray[np.int32], weights: NDArray[np.float32], silent: NDArray[np.int32]
) -> SparseVector:
    counted = (weights > 0) & ~np.isin(ids, silent)
    terms, places = np.unique(ids[counted], return_inverse=True)
    most = np.zeros(len(terms), np.float32)
    np.maximum.at(most, places, weights[counted])
    return SparseVector(indexes=terms.astype(np.uint32), values=most)
