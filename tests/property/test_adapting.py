"""Other dimensions than the network's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from milvane.inference.adapting import adapt, orthonormalize

WIDTH = 24
RANDOM = np.random.default_rng(7)
ROTATION = np.linalg.qr(RANDOM.standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
BASES = {"no basis": None, "rotation": ROTATION}


def draw_directions(seed: int, rows: int = 6) -> NDArray[np.float32]:
    """Draw rows of length 1."""
    drawn = np.random.default_rng(seed).standard_normal((rows, WIDTH))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(1, 100), st.sampled_from(list(BASES)), st.integers(0, 1000))
@example(1, "rotation", 0)
@example(WIDTH - 1, "rotation", 0)
@example(WIDTH, "rotation", 0)
@example(WIDTH + 1, "rotation", 0)
def test_adapted_rows_keep_cosines_and_nest(dimension: int, basis: str, seed: int) -> None:
    """Rows have length 1; wide ones keep every cosine, narrow ones begin a wide one."""
    vectors = draw_directions(seed)
    adapted = adapt(vectors, dimension, BASES[basis])
    assert adapted.shape == (len(vectors), dimension)
    assert adapted.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(adapted, axis=1), 1, atol=1e-5)
    if dimension >= WIDTH:
        np.testing.assert_allclose(adapted @ adapted.T, vectors @ vectors.T, atol=1e-5)
        assert not adapted[:, WIDTH:].any()
    wide = adapt(vectors, 120, BASES[basis])[:, :dimension]
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    np.testing.assert_allclose(adapted, wide, atol=1e-5)


@given(st.integers(0, 100))
def test_rounded_basis_becomes_orthonormal_again(seed: int) -> None:
    """After 16 bits, a rotation is repaired: orthonormal, and hardly moved."""
    exact = np.linalg.qr(np.random.default_rng(seed).standard_normal((WIDTH, WIDTH)))[0]
    repaired = orthonormalize(exact.astype(np.float16))
    assert repaired.dtype == np.float32
    np.testing.assert_allclose(repaired @ repaired.T, np.eye(WIDTH), atol=1e-6)
    np.testing.assert_allclose(repaired, exact, atol=0.005)


@pytest.mark.parametrize(
    "basis",
    [np.zeros((3, 3)), np.ones(3), np.ones((2, 3)), np.eye(3) * 1.1, np.full((3, 3), np.nan)],
)
def test_what_is_no_rotation_is_refused(basis: NDArray[np.float64]) -> None:
    """A damaged file is named, not used."""
    with pytest.raises(ValueError, match="basis must be"):
        orthonormalize(basis)
