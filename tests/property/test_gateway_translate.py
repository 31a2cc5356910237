"""What holds for all functions, rows and vectors on their way through the gateway."""

from __future__ import annotations

import contextlib
import itertools
import math
import struct

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.domain.errors import InvalidInput
from milvane.domain.providers import VectorKind
from milvane.domain.vectors import SparseVector
from milvane.gateway.translate.functions import (
    EmbeddingFunction,
    FunctionRecord,
    decode_record,
    encode_record,
)
from milvane.gateway.translate.queries import read_text_queries
from milvane.gateway.translate.rows import append_columns
from milvane.gateway.translate.vectors import check_sparse_rows, vector_column

names = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable())
functions = st.builds(
    EmbeddingFunction,
    position=st.integers(0, 63),
    name=names,
    description=st.text(max_size=50).filter(lambda text: text.isprintable()),
    input_field=names,
    output_field=names,
    params=st.lists(st.tuples(names, names), max_size=4).map(tuple),
    model=names,
    dimension=st.integers(0, 32768),
    kind=st.sampled_from(VectorKind),
    type=st.sampled_from([schema_pb2.FunctionType.TextEmbedding, schema_pb2.FunctionType.BM25]),
)
records = st.builds(
    FunctionRecord,
    revision=st.integers(0, 2**63 - 1),
    functions=st.lists(functions, max_size=3).map(tuple),
    description=st.text(max_size=50).filter(lambda text: text.isprintable()),
    field_descriptions=st.dictionaries(names, names, max_size=3).map(lambda d: tuple(d.items())),
)
matrices = st_numpy.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 70)),
    elements=st.floats(-1, 1, width=32),
)

sparse_vectors = st.dictionaries(
    st.integers(0, 2**32 - 2), st.floats(0, 2.0**100, exclude_min=True, width=32), max_size=6
).map(
    lambda terms: SparseVector(
        np.array(sorted(terms), np.uint32),
        np.array([terms[index] for index in sorted(terms)], np.float32),
    )
)


@given(records)
def test_record_survives_the_property(record: FunctionRecord) -> None:
    """What is read from the hidden property is what was written to it."""
    assert decode_record(encode_record(record)) == record


@given(matrices, st.integers(0, 400))
@example(np.zeros((1, 1), np.float32), 0)
@example(np.zeros((1, 32), np.float32), 0)  # 128 bytes: the length takes a second byte
def test_appending_equals_adding(vectors: NDArray[np.float32], text_length: int) -> None:
    """Appending a column's bytes gives the message that adding the column gives."""
    request = milvus_pb2.InsertRequest(collection_name="c" * text_length, num_rows=len(vectors))
    request.fields_data.add(field_name="document").scalars.string_data.data.extend(
        ["t" * text_length] * len(vectors)
    )
    field = schema_pb2.FieldSchema(name="dense", fieldID=102)
    column = vector_column(field, vectors)
    appended = append_columns(request.SerializeToString(), [column])
    added = request.fields_data.add(
        type=schema_pb2.DataType.FloatVector, field_name="dense", field_id=102
    )
    added.vectors.dim = vectors.shape[1]
    added.vectors.float_vector.data.extend(vectors.ravel().tolist())
    assert milvus_pb2.InsertRequest.FromString(appended) == request


@given(st.lists(sparse_vectors, max_size=8))
def test_written_sparse_rows_are_good_and_read_back(vectors: list[SparseVector]) -> None:
    """A column holds each vector's terms in order, within its width, and passes the check."""
    column = vector_column(schema_pb2.FieldSchema(name="terms"), vectors)
    rows = column.vectors.sparse_float_vector.contents
    check_sparse_rows(rows, "terms")
    for row, vector in zip(rows, vectors, strict=True):
        read = np.frombuffer(row, [("index", "<u4"), ("value", "<f4")])
        if len(vector.indexes):
            np.testing.assert_array_equal(read["index"], vector.indexes)
            np.testing.assert_array_equal(read["value"], vector.values)
        assert read["index"].max() < column.vectors.dim


def is_good(row: bytes) -> bool:
    """Say naively whether bytes are a sparse vector."""
    if len(row) % 8:
        return False
    terms = list(struct.iter_unpack("<If", row))
    indexes = [index for index, _ in terms]
    return (
        all(math.isfinite(value) and value >= 0 for _, value in terms)
        and all(index < 2**32 - 1 for index in indexes)
        and all(one < other for one, other in itertools.pairwise(indexes))
    )


terms = st.tuples(
    st.sampled_from([0, 1, 2, 2**32 - 2, 2**32 - 1]),
    st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, -0.0]),
).map(lambda term: struct.pack("<If", *term))
rows = st.lists(terms, max_size=3).map(b"".join) | st.binary(max_size=9)


@given(st.lists(rows, max_size=5))
@example([b"", struct.pack("<If", 5, 1.0), b"", struct.pack("<If", 4, 1.0)])
@example([struct.pack("<IfIf", 5, 1.0, 5, 1.0)])
@example([b"", struct.pack("<If", 2**32 - 1, 1.0)])
def test_sparse_rows_are_refused_from_the_first_bad_one(rows: list[bytes]) -> None:
    """The check of all rows at once finds what looking at each would find."""
    bad = [number for number, row in enumerate(rows) if not is_good(row)]
    try:
        check_sparse_rows(rows, "terms")
    except InvalidInput as error:
        named = int(error.message.rpartition("row number: ")[2])
        assert named in bad
    else:
        assert not bad


@given(st.binary(max_size=60) | matrices.map(lambda each: each.tobytes()[:60]))
def test_damaged_requests_are_refused_or_read(content: bytes) -> None:
    """Whatever bytes a client sends in a placeholder group, the answer is a decision."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="dense", data_type=schema_pb2.DataType.FloatVector)
    function = EmbeddingFunction(0, "embed", "", "document", "dense", (), "model", 4)
    request = milvus_pb2.SearchRequest(placeholder_group=content)
    with contextlib.suppress(InvalidInput):
        read_text_queries(request, schema, [function])
