"""
Builds the vector index of a segment, on a thread that every other goes before.

A graph of Milvus Lite holds a copy of all vectors, and takes its time to find the best neighbours.
Here a graph holds numbers of 16 bits, which find the same rows in half the memory: searches compute
the distances of what was found from the vectors themselves. And where the choice is ours
(AUTOINDEX), a graph has more edges and takes less care with each: better found, sooner built.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from milvus_lite.index.factory import build_index_from_spec
from milvus_lite.index.faiss_hnsw import FaissHnswIndex, _l2_normalize

if TYPE_CHECKING:
    from milvus_lite.index.spec import IndexSpec
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

_NICENESS = 10
_CHUNK_ROWS = 4096
"""Vectors that are normalized and added at once."""
_SAMPLE_ROWS = 512
_FINE_ENOUGH = 0.05
"""Rounding may move a vector by so much of its way to the nearest of the sample."""
_GRAPH_TYPES = frozenset({"AUTOINDEX", "HNSW"})
_OUR_CHOICE = {"M": 32, "efConstruction": 64}
_LITES_CHOICE = {"M": 16, "efConstruction": 200}
_METRICS = {
    "L2": faiss.METRIC_L2,
    "IP": faiss.METRIC_INNER_PRODUCT,
    "COSINE": faiss.METRIC_INNER_PRODUCT,
}
_ONE_BUILD = threading.Lock()  # graphs of several collections are built one after the other


def build(spec: IndexSpec, vectors: Vectors, base: Any = None) -> Any:
    """
    Build an index, unhurried.

    Args:
        spec: Which one.

        vectors: Shape ``(rows, dimension)``.

        base: An index of the first of these rows, if there is one; it is not changed.

    Returns:
        Milvus Lite's index of all rows.
    """

    def work() -> Any:
        # A thread of its own, since it could not become quick again.
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # of this thread
        if spec.index_type not in _GRAPH_TYPES:
            return build_index_from_spec(spec, vectors)
        return _build_graph(spec, vectors, base)

    with _ONE_BUILD, ThreadPoolExecutor(1, thread_name_prefix="lite-index") as threads:
        return threads.submit(work).result()


def holds_rounded(index: FaissHnswIndex) -> bool:
    """Say whether distances that a graph finds are rounded."""
    return isinstance(index._index, faiss.IndexHNSWSQ)  # noqa: SLF001 - Lite's wrapper tells nothing


def _build_graph(spec: IndexSpec, vectors: Vectors, base: Any) -> FaissHnswIndex:
    metric, dimension = spec.metric_type, vectors.shape[1]
    chosen = _OUR_CHOICE if spec.index_type == "AUTOINDEX" else _LITES_CHOICE
    chosen = {**chosen, **{name: int(spec.build_params.get(name, chosen[name])) for name in chosen}}
    prepare = _l2_normalize if metric == "COSINE" else np.ascontiguousarray
    is_rounded = _is_fine_enough(prepare(vectors[:: max(1, len(vectors) // _SAMPLE_ROWS)]))
    graph = None if base is None else _copy(base, is_rounded=is_rounded)
    if graph is None:
        graph = _empty_graph(dimension, chosen["M"], metric, is_rounded=is_rounded)
        graph.hnsw.efConstruction = chosen["efConstruction"]
    for start in range(graph.ntotal, len(vectors), _CHUNK_ROWS):
        chunk = prepare(vectors[start : start + _CHUNK_ROWS])
        graph.add(np.ascontiguousarray(chunk, dtype=np.float32))
    return FaissHnswIndex(graph, metric, len(vectors), dimension)


def _empty_graph(dimension: int, edges: int, metric: str, *, is_rounded: bool) -> Any:
    if is_rounded:
        half: Any = faiss.ScalarQuantizer.QT_fp16  # the stubs mean an object
        return faiss.IndexHNSWSQ(dimension, half, edges, _METRICS[metric])
    return faiss.IndexHNSWFlat(dimension, edges, _METRICS[metric])


def _copy(base: Any, *, is_rounded: bool) -> Any:
    if not isinstance(base, FaissHnswIndex) or holds_rounded(base) is not is_rounded:
        return None
    return faiss.clone_index(base._index)  # noqa: SLF001


def _is_fine_enough(sample: Vectors) -> bool:
    """
    Say whether numbers of 16 bits tell vectors apart.

    Args:
        sample: Some of them, shape ``(rows, dimension)``.
    """
    with np.errstate(over="ignore"):
        rounded = sample.astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        return False
    moved = np.linalg.norm(sample - rounded, axis=1)
    centred = sample - sample.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    apart = squares[:, np.newaxis] + squares - 2 * (centred @ centred.T)
    np.fill_diagonal(apart, np.inf)
    nearest = np.sqrt(np.maximum(apart.min(axis=1), 0))
    return bool(np.median(moved) <= _FINE_ENOUGH * np.median(nearest))
