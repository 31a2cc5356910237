"""Rows left out of a write: every kind of column keeps what belongs to the others."""

from __future__ import annotations

import numpy as np
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.gateway.translate.skipping import leave_out, tell_skipped

TYPES = schema_pb2.DataType


def a_request(*columns: schema_pb2.FieldData, num_rows: int = 4) -> milvus_pb2.InsertRequest:
    """Write columns."""
    return milvus_pb2.InsertRequest(
        num_rows=num_rows, fields_data=columns, hash_keys=range(num_rows)
    )


def numbers(*values: int) -> schema_pb2.ScalarField:
    """Hold numbers."""
    return schema_pb2.ScalarField(int_data=schema_pb2.IntArray(data=values))


def a_vector(**kinds) -> schema_pb2.FieldData:
    """Hold vectors of two components, or sixteen where they are bits."""
    return schema_pb2.FieldData(field_name="v", vectors=schema_pb2.VectorField(**kinds))


@pytest.mark.parametrize(
    ("column", "kept"),
    [
        (schema_pb2.FieldData(scalars=numbers(1, 2, 3, 4)), numbers(1, 4)),
        (
            schema_pb2.FieldData(
                scalars=schema_pb2.ScalarField(
                    array_data=schema_pb2.ArrayArray(
                        data=[numbers(1), numbers(), numbers(3), numbers(4, 5)]
                    )
                )
            ),
            schema_pb2.ScalarField(
                array_data=schema_pb2.ArrayArray(data=[numbers(1), numbers(4, 5)])
            ),
        ),
        (
            schema_pb2.FieldData(scalars=numbers(1, 3), valid_data=[True, False, True, False]),
            numbers(1),
        ),
        (
            schema_pb2.FieldData(
                scalars=numbers(1, 0, 3, 0), valid_data=[True, False, True, False]
            ),
            numbers(1, 0),
        ),
        (
            a_vector(dim=2, float_vector=schema_pb2.FloatArray(data=range(8))),
            schema_pb2.VectorField(dim=2, float_vector=schema_pb2.FloatArray(data=[0, 1, 6, 7])),
        ),
        (
            a_vector(dim=16, binary_vector=b"aabbccdd"),
            schema_pb2.VectorField(dim=16, binary_vector=b"aadd"),
        ),
        (
            a_vector(dim=2, float16_vector=b"aaaabbbbccccdddd"),
            schema_pb2.VectorField(dim=2, float16_vector=b"aaaadddd"),
        ),
        (
            a_vector(dim=2, int8_vector=b"aabbccdd"),
            schema_pb2.VectorField(dim=2, int8_vector=b"aadd"),
        ),
        (
            a_vector(
                dim=9,
                sparse_float_vector=schema_pb2.SparseFloatArray(
                    dim=9, contents=[b"a", b"b", b"c", b"d"]
                ),
            ),
            schema_pb2.VectorField(
                dim=9,
                sparse_float_vector=schema_pb2.SparseFloatArray(dim=9, contents=[b"a", b"d"]),
            ),
        ),
    ],
)
def test_columns_lose_the_rows_that_are_left_out(column: schema_pb2.FieldData, kept) -> None:
    """The first and the last row stay, whatever the column holds, with nulls left out or not."""
    request = a_request(column)
    leave_out(request, {1, 2})
    assert (request.num_rows, list(request.hash_keys)) == (2, [0, 3])
    (left,) = request.fields_data
    assert kept in (left.scalars, left.vectors)
    if column.valid_data:
        assert list(left.valid_data) == [True, False]


def test_parts_of_a_struct_lose_them_too() -> None:
    """Fields inside a struct are columns of their own."""
    inner = schema_pb2.FieldData(field_name="part", scalars=numbers(1, 2, 3, 4))
    column = schema_pb2.FieldData(struct_arrays=schema_pb2.StructArrayField(fields=[inner]))
    request = a_request(column)
    leave_out(request, [0])
    assert request.fields_data[0].struct_arrays.fields[0].scalars == numbers(2, 3, 4)


def test_a_failed_write_is_told_as_it_is() -> None:
    """Only a success says which rows were left out."""
    failed = milvus_pb2.MutationResult(status=common_pb2.Status(code=7)).SerializeToString()
    assert tell_skipped(failed, 3, {1}) == failed
    told = milvus_pb2.MutationResult.FromString(tell_skipped(b"", 3, {1}))
    assert np.array_equal(told.err_index, [1])
    assert np.array_equal(told.succ_index, [0, 2])
