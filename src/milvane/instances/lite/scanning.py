"""
An exact vector index for segments that are too small to be worth a graph.

Milvus Lite's own brute force copies and normalizes all vectors at every search; here the norms are
kept, and only the rows that win are computed exactly.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from milvus_lite.search.distance import compute_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MARGIN = 8
"""Rows beyond those asked for that are computed exactly: rounding may swap near neighbours."""
_ROUGH_DISTANCES_AT_ONCE = 1024 * 1024
"""Bounds the memory of a search with many queries."""


class ScanIndex:
    """All vectors of one segment, compared with every query."""

    index_type = "SCAN"

    def __init__(self, vectors: NDArray[np.float32], metric: str) -> None:
        """
        Keep a reference to the vectors; norms are computed by the first search.

        Args:
            vectors: Shape ``(rows, dimension)``, never changed.

            metric: Milvus's name of it.
        """
        self.metric = metric
        self.num_vectors, self.dim = vectors.shape
        self._vectors = vectors

    @cached_property
    def _middle(self) -> NDArray[np.float32]:
        # Distances between points far from the origin drown in rounding: compare from the middle.
        is_from_middle = self.metric == "L2" and self.num_vectors
        return self._vectors.mean(axis=0) if is_from_middle else np.zeros(1, dtype=np.float32)

    @cached_property
    def _compared(self) -> NDArray[np.float32]:
        return self._vectors - self._middle if self.metric == "L2" else self._vectors

    @cached_property
    def _squares(self) -> NDArray[np.float32]:
        squares: NDArray[np.float32] = np.einsum("ij,ij->i", self._compared, self._compared)
        return squares

    @cached_property
    def _scales(self) -> NDArray[np.float32]:
        norms = np.sqrt(self._squares)
        return (-1 / np.where(norms == 0, 1, norms)).astype(np.float32)

    @classmethod
    def build(cls, vectors: NDArray[np.float32], metric: str) -> ScanIndex:
        """Make an index for one search, where Milvus Lite makes its own."""
        return cls(vectors, metric)

    def search(
        self,
        queries: NDArray[np.float32],
        top_k: int,
        valid_mask: NDArray[np.bool_] | None = None,
        params: dict[str, Any] | None = None,  # noqa: ARG002 - the port of Milvus Lite's indexes
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """
        Find the nearest rows of each query.

        Args:
            queries: Shape ``(queries, dimension)``.

            top_k: How many rows to find.

            valid_mask: Which rows count, shape ``(rows,)``; all if not given.

            params: Ignored: there is nothing to tune.

        Returns:
            Row numbers and distances, shape ``(queries, top_k)``, nearest first; -1 and infinity
            where there are no more rows.

        Raises:
            ValueError: If queries and rows have different dimensions; in Milvus Lite's words.
        """
        if queries.shape[1] != self.dim:
            compared = self._vectors if valid_mask is None else self._vectors[valid_mask]
            compute_distances(queries, compared, self.metric)
        numbers = np.full((len(queries), top_k), -1, dtype=np.int64)
        distances = np.full((len(queries), top_k), np.inf, dtype=np.float32)
        at_once = max(1, _ROUGH_DISTANCES_AT_ONCE // max(1, self.num_vectors))
        for start in range(0, len(queries), at_once):
            rough = self._rough_distances(queries[start : start + at_once])
            if valid_mask is not None:
                rough[:, ~valid_mask] = np.inf
            for position, candidates in enumerate(rough, start):
                rows = _smallest(candidates, top_k + _MARGIN)
                exact = compute_distances(queries[position], self._vectors[rows], self.metric)
                order = np.lexsort((rows, exact))[:top_k]
                numbers[position, : len(order)] = rows[order]
                distances[position, : len(order)] = exact[order]
        return numbers, distances

    def _rough_distances(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute what orders rows as their distance does, up to rounding."""
        shifted = queries - self._middle
        # One query at a time needs half the time of a product of matrices.
        products: NDArray[np.float32] = (
            (self._compared @ shifted[0])[np.newaxis]
            if len(shifted) == 1
            else shifted @ self._compared.T
        )
        if self.metric == "IP":
            return -products
        if self.metric == "L2":
            return self._squares - 2 * products
        return products * self._scales


def _smallest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    rows = (
        np.arange(len(values)) if count >= len(values) else np.argpartition(values, count)[:count]
    )
    return rows[np.isfinite(values[rows])]
