"""
Rows that are left out of a write, and what its reply says of them. Pure.

`MutationResult` has places for it since its first version: `err_index` for the rows that were not
written, `succ_index` for those that were, both by their positions in the request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from milvane.gateway.translate.rows import WriteRequest
from milvane.messages import milvus_pb2, schema_pb2

_BYTES_PER_ROW = {
    "binary_vector": lambda dimension: dimension // 8,
    "float16_vector": lambda dimension: 2 * dimension,
    "bfloat16_vector": lambda dimension: 2 * dimension,
    "int8_vector": lambda dimension: dimension,
}


def leave_out(request: WriteRequest, rows: Collection[int]) -> None:
    """
    Remove rows from a write, in place.

    Args:
        request: With all its columns.

        rows: Positions of the rows to leave out.
    """
    kept = [row for row in range(request.num_rows) if row not in rows]
    for column in request.fields_data:
        _keep(column, kept, request.num_rows)
    if len(request.hash_keys) == request.num_rows:
        request.hash_keys[:] = [request.hash_keys[row] for row in kept]
    request.num_rows = len(kept)


def _keep(column: schema_pb2.FieldData, kept: Sequence[int], num_rows: int) -> None:
    kind = column.WhichOneof("field")
    if kind == "struct_arrays":
        for each in column.struct_arrays.fields:
            _keep(each, kept, num_rows)
        return
    places = _places(column, kept, num_rows)
    if column.valid_data:
        column.valid_data[:] = [column.valid_data[row] for row in kept]
    if kind == "scalars":
        values: Any = getattr(column.scalars, column.scalars.WhichOneof("data") or "", None)
        if values is not None:
            _pick(values.data, places)
    elif kind == "vectors":
        _keep_vectors(column.vectors, places)


def _places(column: schema_pb2.FieldData, kept: Sequence[int], num_rows: int) -> list[int]:
    """Say where the values of rows stand: a nullable column may leave its nulls out."""
    valid = list(column.valid_data)
    if len(valid) != num_rows or _count(column) == num_rows:
        return list(kept)
    place_of, place = {}, 0
    for row, is_valid in enumerate(valid):
        if is_valid:
            place_of[row] = place
            place += 1
    return [place_of[row] for row in kept if row in place_of]


def _count(column: schema_pb2.FieldData) -> int:
    if column.WhichOneof("field") == "scalars":
        values: Any = getattr(column.scalars, column.scalars.WhichOneof("data") or "", None)
        return 0 if values is None else len(values.data)
    vectors = column.vectors
    kind = vectors.WhichOneof("data")
    if kind == "float_vector":
        return len(vectors.float_vector.data) // max(vectors.dim, 1)
    if kind == "sparse_float_vector":
        return len(vectors.sparse_float_vector.contents)
    if kind == "vector_array":
        return len(vectors.vector_array.data)
    return len(getattr(vectors, kind)) // max(_BYTES_PER_ROW[kind](vectors.dim), 1) if kind else 0


def _keep_vectors(vectors: schema_pb2.VectorField, places: Sequence[int]) -> None:
    kind = vectors.WhichOneof("data")
    if kind == "float_vector":
        flat, width = list(vectors.float_vector.data), vectors.dim
        vectors.float_vector.data[:] = [
            value for place in places for value in flat[place * width : (place + 1) * width]
        ]
    elif kind == "sparse_float_vector":
        _pick(vectors.sparse_float_vector.contents, places)
    elif kind == "vector_array":
        _pick(vectors.vector_array.data, places)
    elif kind:
        content, width = getattr(vectors, kind), _BYTES_PER_ROW[kind](vectors.dim)
        setattr(
            vectors,
            kind,
            b"".join(content[place * width : (place + 1) * width] for place in places),
        )


def _pick(values: Any, places: Sequence[int]) -> None:
    """Keep some values of a repeated field, in place."""
    found = [values[place] for place in places]
    copies = [
        type(each).FromString(each.SerializeToString()) for each in found if _is_message(each)
    ]
    del values[:]
    values.extend(copies or found)


def _is_message(value: Any) -> bool:
    return hasattr(value, "SerializeToString")


def tell_skipped(reply: bytes, num_rows: int, rows: Collection[int]) -> bytes:
    """
    Say in the reply to a write which rows were left out.

    Args:
        reply: Of the upstream, that was sent the others.

        num_rows: Of the request as it came.

        rows: Positions of the rows that were left out.
    """
    result = milvus_pb2.MutationResult.FromString(reply)
    if result.status.code or result.status.error_code:
        return reply
    kept = [row for row in range(num_rows) if row not in rows]
    result.succ_index[:] = kept
    result.err_index[:] = sorted(rows)
    return result.SerializeToString()
