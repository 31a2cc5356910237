"""
From the network's width to the dimension that was asked for. Pure.

A vector is rotated so that its first components hold most of what tells texts apart; then it is
padded with zeros (which keeps every cosine) or cut to its first components, and scaled to
length 1. A smaller vector is therefore the beginning of a larger one, up to its length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milvane.inference.windowing import normalize_rows


def orthonormalize(basis: NDArray[np.floating]) -> NDArray[np.float32]:
    """
    Remove what rounding did to a rotation: its rows become orthonormal again.

    Rows are treated in order, so that each subspace of the first ones stays what it was.

    Args:
        basis: A nearly orthonormal matrix, shape ``(width, width)``, a component per row.

    Raises:
        ValueError: If it is not square, or too far from orthonormal to be a stored rotation.
    """
    if basis.ndim != 2 or basis.shape[0] != basis.shape[1]:
        raise ValueError(f"a basis must be square, got shape {basis.shape}")
    exact = basis.astype(np.float64)
    products = exact @ exact.T
    deviation = np.abs(products - np.eye(len(exact))).max()
    if not deviation < 0.01:  # rounding to 16 bits leaves about 0.001
        raise ValueError(f"a basis must be orthonormal, this one deviates by {deviation:.3g}")
    # Cholesky's triangle undoes what Gram and Schmidt would: the same rows at a third of the work.
    return np.asarray(np.linalg.solve(np.linalg.cholesky(products), exact), np.float32)


def adapt(
    vectors: NDArray[np.float32], dimension: int, basis: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """
    Give vectors another dimension.

    Args:
        vectors: Rows of length 1, shape ``(rows, width)``.

        dimension: Width of the result, from 1 up.

        basis: An orthonormal rotation, shape ``(width, width)``, a component per row, the most
            telling first; without one, vectors are padded or cut as they are.

    Returns:
        Rows of length 1, shape ``(rows, dimension)``. From ``width`` up, the cosine of any two
        rows is that of the rows given.
    """
    rows, width = vectors.shape
    if dimension >= width:
        adapted = np.zeros((rows, dimension), np.float32)
        adapted[:, :width] = vectors if basis is None else vectors @ basis.T
        return normalize_rows(adapted)
    kept = vectors[:, :dimension] if basis is None else vectors @ basis[:dimension].T
    return normalize_rows(kept)
