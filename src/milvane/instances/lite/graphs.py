"""
Asks the index of one segment for the nearest rows.

Milvus Lite gives FAISS a list of the rows that count, which FAISS turns into a hash set at every
search, and sets the breadth of the search on the index that other searches share. Here rows are
given as bits, and the breadth with the question. A graph does not reach every row, least of all
through a narrow filter: what it cannot find is found by a scan.
"""

# ruff: noqa: SLF001 - the graph within Milvus Lite's index

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from milvus_lite.index.faiss_hnsw import FaissHnswIndex, _l2_normalize
from milvus_lite.search.distance import compute_distances

from milvane.instances.lite.building import holds_rounded
from milvane.instances.lite.scanning import ScanIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from milvane.instances.lite.live import Mask

    Found = tuple[NDArray[np.int64], NDArray[np.float32]]

_FEW_ROWS = 500
"""So many rows are compared sooner than a graph is asked for them."""
_BREADTH = 64
"""Milvus Lite's `ef` where the search names none."""
_MARGIN = 8
"""Rows beyond those asked for whose distance is computed exactly: rounding may swap neighbours."""
_NO_DISTANCE = 1e30
"""FAISS marks with such distances that there are no more rows."""


def search_index(
    index: Any,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    top_k: int,
    mask: Mask | None,
    parameters: dict[str, Any] | None,
) -> Found:
    """
    Find the nearest rows of each query.

    Args:
        index: Milvus Lite's index of a segment, or a scan.

        vectors: What is indexed, shape ``(rows, dimension)``.

        queries: Shape ``(queries, dimension)``.

        top_k: How many rows to find.

        mask: Which rows count, at least one; all if not given.

        parameters: As the client named them.

    Returns:
        Row numbers and distances, shape ``(queries, top_k)``, as many as there are; -1 and
        infinity where there are no more rows.
    """
    if isinstance(index, ScanIndex):
        return index.search(queries, top_k, mask)
    count = len(vectors) if mask is None else int(np.count_nonzero(mask))
    if mask is not None and count <= _FEW_ROWS:
        return _compare(index.metric, vectors, queries, top_k, np.flatnonzero(mask))
    if type(index) is FaissHnswIndex:
        found = _walk(index, vectors, queries, top_k, mask, parameters)
    else:
        found = index.search(queries, top_k, valid_mask=mask, params=parameters)
    if np.count_nonzero(found[0] >= 0, axis=1).min(initial=top_k) < min(top_k, count):
        return ScanIndex(vectors, index.metric).search(queries, top_k, mask)
    return found


def _compare(
    metric: str,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    top_k: int,
    rows: NDArray[np.int64],
) -> Found:
    numbers, distances = ScanIndex(vectors[rows], metric).search(queries, top_k)
    return np.where(numbers < 0, -1, rows[numbers]), distances


def _walk(
    index: FaissHnswIndex,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    top_k: int,
    mask: Mask | None,
    parameters: dict[str, Any] | None,
) -> Found:
    asked = _l2_normalize(queries) if index.metric == "COSINE" else queries
    is_rounded = holds_rounded(index)
    options: dict[str, Any] = {"efSearch": int((parameters or {}).get("ef", _BREADTH))}
    if mask is not None:
        bits = np.packbits(mask, bitorder="little")  # FAISS keeps no reference
        options["sel"] = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
    distances, rows = index._index.search(
        np.ascontiguousarray(asked, dtype=np.float32),
        min(top_k + _MARGIN, len(vectors)) if is_rounded else top_k,
        params=faiss.SearchParametersHNSW(**options),  # type: ignore[attr-defined]
    )
    missing = (rows < 0) | (np.abs(distances) >= _NO_DISTANCE)
    if is_rounded:
        rows[missing] = -1
        return _compute(index.metric, vectors, queries, top_k, rows)
    if index.metric == "L2":
        distances = np.sqrt(np.maximum(distances, 0))
    else:
        distances = -distances if index.metric == "IP" else 1 - distances
    rows[missing], distances[missing] = -1, np.inf
    return rows, distances


def _compute(
    metric: str,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    top_k: int,
    candidates: NDArray[np.int64],
) -> Found:
    """Order what a graph of rounded vectors has found by the distances of the vectors."""
    numbers = np.full((len(queries), top_k), -1, dtype=np.int64)
    distances = np.full((len(queries), top_k), np.inf, dtype=np.float32)
    for position, each in enumerate(candidates):
        rows = each[each >= 0]
        exact = compute_distances(queries[position], vectors[rows], metric)
        order = np.lexsort((rows, exact))[:top_k]
        numbers[position, : len(order)] = rows[order]
        distances[position, : len(order)] = exact[order]
    return numbers, distances
