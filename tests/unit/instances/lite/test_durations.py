"""Which reads are made on the event loop."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from milvane.instances.lite.durations import Durations, shape_of
from milvane.instances.lite.journal import CollectionKey

ROWS = CollectionKey("default", "rows")
BRIEF_S, LONG_S = 0.0004, 0.05


def a_search(*, limit: int = 10, vector: bytes = b"", expression: str = "") -> object:
    """Ask for the nearest rows of one vector."""
    return milvus_pb2.SearchRequest(
        collection_name="rows",
        dsl=expression,
        nq=1,
        placeholder_group=vector,
        search_params=[common_pb2.KeyValuePair(key="topk", value=str(limit))],
    )


def test_unknown_read_is_not_brief() -> None:
    """Nothing is assumed of a read that was never made."""
    assert not Durations().are_brief(shape_of("Search", ROWS, a_search()))


def test_read_is_as_brief_as_the_last_ones_of_its_shape() -> None:
    """A long one takes its shape off the loop at once; some brief ones bring it back."""
    durations, shape = Durations(), shape_of("Search", ROWS, a_search())
    durations.note(shape, BRIEF_S)
    assert durations.are_brief(shape)
    durations.note(shape, LONG_S)
    assert not durations.are_brief(shape)
    for _ in range(20):
        durations.note(shape, BRIEF_S)
    assert durations.are_brief(shape)


def test_shape_is_everything_but_the_vectors() -> None:
    """Reads that may take longer are of another shape; other vectors make no difference."""
    shape = shape_of("Search", ROWS, a_search(vector=b"one"))
    assert shape == shape_of("Search", ROWS, a_search(vector=b"other"))
    others = [
        shape_of("Search", ROWS, a_search(limit=10_000)),
        shape_of("Search", ROWS, a_search(expression="id > 3")),
        shape_of("Search", CollectionKey("default", "other"), a_search()),
        shape_of("Query", ROWS, milvus_pb2.QueryRequest(expr="id > 3")),
        shape_of("Query", ROWS, milvus_pb2.QueryRequest(expr="id > 4")),
    ]
    assert len({shape, *others}) == 1 + len(others)


def test_reads_without_a_shape_are_never_brief() -> None:
    """What is not described in a few words is not looked up either."""
    filled = milvus_pb2.QueryRequest(expr="id in {ids}")
    filled.expr_template_values["ids"].array_val.long_data.data.append(3)
    assert shape_of("Query", ROWS, filled) is None
    durations = Durations()
    shape = shape_of("HybridSearch", ROWS, milvus_pb2.HybridSearchRequest())
    durations.note(shape, BRIEF_S)
    assert not durations.are_brief(shape)


def test_only_so_many_shapes_are_kept() -> None:
    """Filters that are never asked again do not pile up."""
    durations = Durations()
    for number in range(3_000):
        durations.note(("Query", ROWS, number), BRIEF_S)
    assert not durations.are_brief(("Query", ROWS, 0))
    assert durations.are_brief(("Query", ROWS, 2_999))
