"""Query texts of a search, and the vectors that replace them."""

from __future__ import annotations

import numpy as np
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.domain.errors import InvalidInput
from milvane.gateway.translate.functions import EmbeddingFunction
from milvane.gateway.translate.queries import read_text_queries
from milvane.gateway.translate.vectors import vector_placeholder

TYPES = schema_pb2.DataType
KINDS = common_pb2.PlaceholderType
EMBED = EmbeddingFunction(0, "embed", "", "document", "dense", (), "text-embedding-v4", 4)


def a_schema(*vectors: str) -> schema_pb2.CollectionSchema:
    """Build a schema with a text field and these vector fields."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="document", data_type=TYPES.VarChar)
    for name in vectors:
        schema.fields.add(name=name, data_type=TYPES.FloatVector)
    return schema


def a_search(*values: bytes, kind: int = KINDS.VarChar, field: str = "dense") -> object:
    """Build a search with one value for each query."""
    group = common_pb2.PlaceholderGroup()
    group.placeholders.add(tag="$0", type=kind, values=values)
    request = milvus_pb2.SearchRequest(placeholder_group=group.SerializeToString())
    if field:
        request.search_params.add(key="anns_field", value=field)
    return request


def test_texts_for_an_embedding_function_are_found() -> None:
    """One text for each query, in order."""
    queries = read_text_queries(
        a_search(b"one", "zw\u00f6lf".encode()), a_schema("dense", "other"), [EMBED]
    )
    assert queries is not None
    assert (queries.function, queries.texts) == (EMBED, ["one", "zw\u00f6lf"])


def test_the_only_vector_field_needs_no_name() -> None:
    """Without `anns_field` the only vector field is searched."""
    assert read_text_queries(a_search(b"one", field=""), a_schema("dense"), [EMBED]) is not None


def test_several_vector_fields_need_a_name() -> None:
    """Without `anns_field` the field searched would be a guess."""
    with pytest.raises(InvalidInput, match="multiple anns_fields exist"):
        read_text_queries(a_search(b"one", field=""), a_schema("dense", "other"), [EMBED])


@pytest.mark.parametrize(
    "request_",
    [
        a_search(np.zeros(4, "<f4").tobytes(), kind=KINDS.FloatVector),
        a_search(b"one", field="other"),
        milvus_pb2.SearchRequest(),
    ],
    ids=["a vector", "a text for another field", "a search by ids"],
)
def test_everything_else_goes_on_untouched(request_: milvus_pb2.SearchRequest) -> None:
    """Only a text on an embedding function's output is ours."""
    assert read_text_queries(request_, a_schema("dense", "other"), [EMBED]) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "does not support empty text: function embed, field dense, query 1"),
        (b"\xff", "not valid UTF-8: function embed, field dense, query 1"),
    ],
)
def test_bad_text_is_refused(value: bytes, message: str) -> None:
    """A refusal names the function, the field and the query."""
    with pytest.raises(InvalidInput) as caught:
        read_text_queries(a_search(b"good", value), a_schema("dense"), [EMBED])
    assert message in caught.value.message


def test_damaged_placeholder_group_is_refused() -> None:
    """Bytes that are no placeholder group are the client's mistake."""
    request = milvus_pb2.SearchRequest(placeholder_group=b"\xff\xff\xff")
    with pytest.raises(InvalidInput, match="cannot be decoded"):
        read_text_queries(request, a_schema("dense"), [EMBED])


def test_vectors_are_written_as_little_endian_floats() -> None:
    """The upstream reads four bytes a component."""
    vectors = np.asarray([[0.5, -1.0], [2.0, 3.0]], dtype=np.float32)
    group = common_pb2.PlaceholderGroup.FromString(vector_placeholder(vectors))
    (placeholder,) = group.placeholders
    assert (placeholder.tag, placeholder.type) == ("$0", KINDS.FloatVector)
    assert list(placeholder.values) == [row.astype("<f4").tobytes() for row in vectors]
