"""Embedding functions that fill sparse fields, from the schema to the upstream's bytes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.domain.errors import InvalidInput
from milvane.domain.providers import VectorKind
from milvane.domain.vectors import SparseVector
from milvane.gateway.translate.functions import decode_record, encode_record, is_embedding
from milvane.gateway.translate.schemas import read_functions, restore_functions, strip_functions
from milvane.gateway.translate.vectors import (
    check_sparse_rows,
    vector_column,
    vector_placeholder,
)
from milvane.providers.service import ProviderService
from milvane.providers.settings import ProvidersSettings

TYPES = schema_pb2.DataType
KINDS = schema_pb2.FunctionType
SPARSE = {
    "provider": "aliyun_milvus",
    "model_name": "text-embedding-v4",
    "output_type": "sparse",
}


def a_schema(
    params: dict[str, str], *, kind: int = KINDS.TextEmbedding, field: int = TYPES.SparseFloatVector
) -> schema_pb2.CollectionSchema:
    """Build a schema with one function that fills `terms` from `document`."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="id", data_type=TYPES.Int64, is_primary_key=True)
    schema.fields.add(name="document", data_type=TYPES.VarChar)
    terms = schema.fields.add(name="terms", data_type=field)
    if field == TYPES.FloatVector:
        terms.type_params.add(key="dim", value="1024")
    function = schema.functions.add(
        name="weigh", type=kind, input_field_names=["document"], output_field_names=["terms"]
    )
    for key, value in params.items():
        function.params.add(key=key, value=value)
    return schema


@pytest.mark.parametrize("kind", [KINDS.TextEmbedding, KINDS.BM25])
def test_function_with_sparse_output_survives_the_way_through_the_upstream(kind: int) -> None:
    """The upstream gets a plain sparse field, and the client reads back the type that it gave."""
    schema = a_schema(SPARSE, kind=kind)
    functions = read_functions(schema)
    assert functions[0].kind is VectorKind.SPARSE
    request = milvus_pb2.CreateCollectionRequest(schema=schema.SerializeToString())
    rewritten = strip_functions(request, schema, functions, revision=3)
    description = milvus_pb2.DescribeCollectionResponse(properties=rewritten.properties)
    description.schema.ParseFromString(rewritten.schema)
    assert not description.schema.functions
    record = restore_functions(description)
    assert record is not None
    assert record.functions == functions
    assert decode_record(encode_record(record)) == record
    assert description.schema.functions[0].type == kind
    assert list(description.schema.functions[0].params) == list(schema.functions[0].params)


def test_bm25_function_without_a_provider_is_the_upstreams() -> None:
    """Only a provider makes it an embedding function."""
    (function,) = a_schema({}, kind=KINDS.BM25).functions
    assert not is_embedding(function)
    with pytest.raises(InvalidInput, match="BM25 function accepts no params"):
        read_functions(a_schema({"k1": "1.2"}, kind=KINDS.BM25))


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        (
            SPARSE,
            TYPES.FloatVector,
            "model output is SparseFloatVector, field type is FloatVector: field terms",
        ),
        (
            SPARSE | {"output_type": "dense"},
            TYPES.SparseFloatVector,
            "model output is FloatVector, field type is SparseFloatVector: field terms; add the "
            'function parameter "output_type": "sparse"',
        ),
        (
            SPARSE | {"output_type": "dense&sparse"},
            TYPES.SparseFloatVector,
            "[output_type:dense&sparse] is not supported, only supports: [dense, sparse]; for "
            "both, bind two functions",
        ),
        (
            SPARSE | {"model_name": "text-embedding-v2"},
            TYPES.SparseFloatVector,
            "the model [text-embedding-v2] has no sparse vectors, list of those that have "
            "[text-embedding-v4, text-embedding-v3",
        ),
        (SPARSE | {"dim": "64"}, TYPES.SparseFloatVector, "sparse vectors have no dimension"),
        (
            {"provider": "openai", "model_name": "x", "output_type": "sparse"},
            TYPES.SparseFloatVector,
            "the provider [openai] has no sparse vectors, only [aliyun_milvus] has: field terms",
        ),
        (
            {"provider": "openai", "model_name": "x"},
            TYPES.SparseFloatVector,
            "the provider [openai] has no sparse vectors",
        ),
    ],
)
def test_function_that_cannot_fill_its_field_is_refused(
    params: dict[str, str], field: int, message: str
) -> None:
    """What the model makes has to be what the field holds."""
    providers = ProviderService(ProvidersSettings(), environment={})
    with pytest.raises(InvalidInput) as caught:
        read_functions(a_schema(params, field=field), providers)
    assert "check function [weigh:TextEmbedding] failed" in caught.value.message
    assert message in caught.value.message


VECTORS = [
    SparseVector(np.array([3, 70_000], np.uint32), np.array([0.5, 2.0], np.float32)),
    SparseVector(np.array([1], np.uint32), np.array([1.0], np.float32)),
]
PACKED = [struct.pack("<IfIf", 3, 0.5, 70_000, 2.0), struct.pack("<If", 1, 1.0)]


def test_sparse_vectors_are_written_as_index_and_value_pairs() -> None:
    """A column and a query hold the same bytes, and the column says how wide it is."""
    field = schema_pb2.FieldSchema(name="terms", fieldID=102)
    column = vector_column(field, VECTORS)
    assert (column.type, column.field_name, column.field_id) == (
        TYPES.SparseFloatVector,
        "terms",
        102,
    )
    assert list(column.vectors.sparse_float_vector.contents) == PACKED
    assert column.vectors.dim == column.vectors.sparse_float_vector.dim == 70_001
    group = common_pb2.PlaceholderGroup.FromString(vector_placeholder(VECTORS))
    (placeholder,) = group.placeholders
    assert placeholder.type == common_pb2.PlaceholderType.SparseFloatVector
    assert list(placeholder.values) == PACKED


def test_text_without_terms_is_stored_as_one_that_no_text_has() -> None:
    """An upstream may refuse rows without terms; a question may have none."""
    empty = SparseVector(np.array([], np.uint32), np.array([], np.float32))
    column = vector_column(schema_pb2.FieldSchema(name="terms"), [empty])
    (row,) = column.vectors.sparse_float_vector.contents
    index, value = struct.unpack("<If", row)
    assert (index, value > 0) == (0xFFFF_FFFE, True)
    check_sparse_rows([row], "terms")
    group = common_pb2.PlaceholderGroup.FromString(vector_placeholder([empty]))
    assert list(group.placeholders[0].values) == [b""]


def test_good_sparse_rows_are_taken() -> None:
    """Rows without terms are vectors too, wherever they stand."""
    check_sparse_rows([b"", *PACKED, *PACKED, b""], "terms")
    check_sparse_rows([], "terms")
    check_sparse_rows([b""], "terms")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"1234", "invalid data length in sparse float vector: 4, field terms, row number: 3"),
        (struct.pack("<If", 1, float("nan")), "not a number or infinity: field terms, row number"),
        (struct.pack("<If", 1, -1.0), "negative value is not allowed"),
        (struct.pack("<If", 0xFFFFFFFF, 1.0), "invalid index"),
        (struct.pack("<IfIf", 5, 1.0, 5, 1.0), "unsorted or same indices"),
        (struct.pack("<IfIf", 5, 1.0, 4, 1.0), "unsorted or same indices"),
    ],
)
def test_bad_sparse_row_is_refused(row: bytes, message: str) -> None:
    """The refusal names the row."""
    with pytest.raises(InvalidInput) as caught:
        check_sparse_rows([*PACKED, PACKED[0], row, PACKED[0]], "terms")
    assert message in caught.value.message
    assert "row number: 3" in caught.value.message
