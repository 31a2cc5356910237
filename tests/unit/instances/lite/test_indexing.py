"""Which index a field gets is decided before anything is stored."""

from __future__ import annotations

import json

import pytest

from milvane.domain.errors import InvalidInput
from milvane.instances.lite.indexing import (
    DENSE_TYPES,
    FieldKind,
    settle_index,
    settle_search,
)


@pytest.mark.parametrize("index_type", DENSE_TYPES)
def test_indexes_that_can_be_built_are_passed_on(index_type: str) -> None:
    """A supported index of dense vectors is asked for as the client did."""
    asked = {"index_type": index_type, "metric_type": "L2", "params": '{"M": 2}'}
    assert settle_index(FieldKind.DENSE, asked) == asked


@pytest.mark.parametrize(
    ("kind", "asked", "words"),
    [
        (FieldKind.DENSE, {"index_type": "DISKANN"}, "invalid index type: DISKANN"),
        (FieldKind.DENSE, {"index_type": "ivf_pq"}, "invalid index type: IVF_PQ"),
        (FieldKind.SPARSE, {"index_type": "NONSENSE"}, "invalid index type: NONSENSE"),
        (FieldKind.BM25, {"index_type": "HNSW"}, "can't build with this index HNSW"),
        (
            FieldKind.DENSE,
            {"index_type": "SPARSE_INVERTED_INDEX"},
            "can't build with this index SPARSE_INVERTED_INDEX",
        ),
        (
            FieldKind.DENSE,
            {"index_type": "HNSW", "metric_type": "HAMMING"},
            "does not support metric type: HAMMING",
        ),
        (FieldKind.DENSE, {"index_type": "HNSW", "params": '{"M": 1}'}, "'M' (1) should be in"),
        (FieldKind.DENSE, {"index_type": "HNSW", "M": "2049"}, "should be in range [2, 2048]"),
        (FieldKind.DENSE, {"index_type": "HNSW", "M": "many"}, "'M' (many)"),
        (FieldKind.DENSE, {"index_type": "IVF_FLAT", "params": '{"nlist": 0}'}, "'nlist' (0)"),
    ],
)
def test_indexes_that_cannot_be_built_are_refused(
    kind: FieldKind, asked: dict[str, str], words: str
) -> None:
    """The refusal names what is wrong."""
    with pytest.raises(InvalidInput) as refusal:
        settle_index(kind, asked)
    assert words in refusal.value.message


def test_dense_vectors_get_the_automatic_index_if_none_is_named() -> None:
    """A metric is enough, and may be missing as well; a named index has no metric of its own."""
    chosen = {"index_type": "AUTOINDEX", "metric_type": "L2"}
    assert settle_index(FieldKind.DENSE, {"metric_type": "L2"}) == chosen
    assert settle_index(FieldKind.DENSE, {}) == chosen | {"metric_type": "COSINE"}
    assert settle_index(FieldKind.DENSE, {"index_type": "HNSW"}) == {"index_type": "HNSW"}


@pytest.mark.parametrize("name", ["AUTOINDEX", "SPARSE_WAND", "SPARSE_INVERTED_INDEX", ""])
def test_sparse_vectors_get_the_one_index_there_is(name: str) -> None:
    """Every name of an index of sparse vectors leads to it, with the metric of the field."""
    settled = settle_index(FieldKind.BM25, {"index_type": name})
    assert settled == {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25"}
    settled = settle_index(FieldKind.SPARSE, {"index_type": name, "metric_type": "IP"})
    assert settled == {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP"}


def test_algorithms_with_the_same_results_are_all_the_same() -> None:
    """How an exact index walks is no reason to refuse it, and other parameters stay."""
    asked = {"index_type": "AUTOINDEX", "params": '{"inverted_index_algo": "DAAT_WAND", "b": 1}'}
    assert json.loads(settle_index(FieldKind.BM25, asked)["params"]) == {"b": 1}


def test_leave_to_find_less_is_not_taken() -> None:
    """Neither an index nor a search is refused because less would do."""
    parameters = json.dumps({"drop_ratio_build": 0.2, "drop_ratio_search": 0.2, "bm25_b": 0.5})
    settled = settle_index(FieldKind.BM25, {"index_type": "AUTOINDEX", "params": parameters})
    assert json.loads(settled["params"]) == {"bm25_b": 0.5}
    settled = settle_search({"topk": "3", "metric_type": "BM25", "params": parameters})
    assert json.loads(settled.pop("params")) == {"bm25_b": 0.5}
    assert settled == {"topk": "3", "metric_type": "BM25"}


def test_search_is_asked_as_the_client_did() -> None:
    """Only an empty metric is left out: it stands for that of the index."""
    asked = {"topk": "3", "anns_field": "dense", "params": '{"ef": 64}'}
    assert settle_search(asked | {"metric_type": "L2"}) == asked | {"metric_type": "L2"}
    assert settle_search(asked | {"metric_type": ""}) == asked
    assert settle_search({"params": "[1"}) == {"params": "[1"}


def test_other_fields_and_torn_parameters_are_left_to_milvus_lite() -> None:
    """What is not ours to judge is passed on."""
    for asked in ({"index_type": "INVERTED"}, {"index_type": "AUTOINDEX"}):
        assert settle_index(FieldKind.SCALAR, asked) == asked
    for torn in ("{", "[1]"):
        asked = {"index_type": "HNSW", "params": torn}
        assert settle_index(FieldKind.DENSE, asked) == asked
