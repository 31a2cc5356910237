"""Sparse vectors from weights of tokens."""

from __future__ import annotations

import numpy as np

from milvane.inference.terms import gather_terms


def ids(*values: int) -> np.ndarray:
    """Make token ids."""
    return np.array(values, np.int32)


def weights(*values: float) -> np.ndarray:
    """Make weights."""
    return np.array(values, np.float32)


def test_term_weighs_what_it_weighs_at_most() -> None:
    """Of a term that occurs often, also in several windows, the largest weight counts."""
    (vector,) = gather_terms(
        [ids(0, 7, 5, 7, 2), ids(0, 5, 9, 2)],
        [weights(9, 0.5, 0.25, 0.75, 9), weights(9, 0.5, 0.0, 9)],
        [2],
        ids(0, 2),
    )
    assert vector.indexes.tolist() == [5, 7]
    assert vector.values.tolist() == [0.5, 0.75]


def test_each_text_has_its_own_terms() -> None:
    """Windows are dealt to texts in order, and a text without terms has an empty vector."""
    first, second, third = gather_terms(
        [ids(0, 2), ids(0, 4, 2), ids(4, 4)],
        [weights(1, 1), weights(1, 2, 1), weights(3, 1)],
        [1, 1, 1],
        ids(0, 2),
    )
    assert first.indexes.tolist() == []
    assert (second.indexes.tolist(), second.values.tolist()) == ([4], [2.0])
    assert (third.indexes.tolist(), third.values.tolist()) == ([4], [3.0])
