"""Columns of a reply into rows as JSON objects. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from milvane.gateway.rest_v2.columns import DYNAMIC_FIELD
from milvane.gateway.rest_v2.values import VECTOR_TYPES, scalar_writer, write_sparse
from milvane.messages import schema_pb2

_DataType = schema_pb2.DataType
_WIDTH_PER_COMPONENT = {
    _DataType.BinaryVector: 0.125,
    _DataType.Float16Vector: 2,
    _DataType.BFloat16Vector: 2,
    _DataType.Int8Vector: 1,
}


def to_rows(
    columns: Iterable[schema_pb2.FieldData],
    *,
    asked_for: Collection[str],
    int64_as_text: bool,
) -> list[dict[str, Any]]:
    """
    Turn columns into rows.

    Args:
        columns: Of equal length.

        asked_for: The output fields; of the dynamic field only keys among them are kept, unless
            everything is asked for.

        int64_as_text: Whether 64-bit integers are written as text.

    Returns:
        Objects whose values `orjson` writes with its NumPy option.
    """
    rows: list[dict[str, Any]] = []
    for column in columns:
        values = list(_values(column, int64_as_text=int64_as_text))
        if not rows:
            rows = [{} for _ in values]
        if column.is_dynamic or column.field_name == DYNAMIC_FIELD:
            keep = _dynamic_filter(asked_for)
            for row, extras in zip(rows, values, strict=True):
                row.update({key: value for key, value in (extras or {}).items() if keep(key)})
            continue
        for row, value in zip(rows, values, strict=True):
            row[column.field_name] = value
    return rows


def _dynamic_filter(asked_for: Collection[str]) -> Callable[[str], bool]:
    if "*" in asked_for or DYNAMIC_FIELD in asked_for:
        return lambda _: True
    return lambda key: key in asked_for


def _values(column: schema_pb2.FieldData, *, int64_as_text: bool) -> Iterator[Any]:
    """Give a column's values, none for each null."""
    if column.type in VECTOR_TYPES:
        present = _vectors(column)
    else:
        present = _scalars(column, int64_as_text=int64_as_text)
    valid = column.valid_data
    if not valid:
        yield from present
    elif len(present) == len(valid):
        yield from (
            value if is_there else None for value, is_there in zip(present, valid, strict=True)
        )
    else:  # nulls are left out
        following = iter(present)
        yield from (next(following) if is_there else None for is_there in valid)


def _scalars(column: schema_pb2.FieldData, *, int64_as_text: bool) -> Sequence[Any]:
    if column.type == _DataType.Array:
        arrays = column.scalars.array_data
        write = scalar_writer(arrays.element_type, int64_as_text=int64_as_text)
        return [[write(value) for value in _elements(array)] for array in arrays.data]
    # A type may be answered in another part than it is sent in: what is there is what counts.
    write = scalar_writer(column.type, int64_as_text=int64_as_text)
    return [write(value) for value in _elements(column.scalars)]


def _elements(field: schema_pb2.ScalarField) -> Sequence[Any]:
    held = field.WhichOneof("data")
    return getattr(field, held).data if held else []


def _vectors(column: schema_pb2.FieldData) -> Sequence[Any]:
    vectors = column.vectors
    if column.type == _DataType.FloatVector:
        flat = np.asarray(vectors.float_vector.data, dtype=np.float32)
        return list(flat.reshape(-1, max(vectors.dim, 1)))
    if column.type == _DataType.SparseFloatVector:
        return [write_sparse(content) for content in vectors.sparse_float_vector.contents]
    held = vectors.WhichOneof("data")
    packed = getattr(vectors, held) if held else b""
    width = max(1, int(vectors.dim * _WIDTH_PER_COMPONENT[column.type]))
    pieces = [packed[start : start + width] for start in range(0, len(packed), width)]
    if column.type == _DataType.Int8Vector:
        return [np.frombuffer(piece, dtype=np.int8) for piece in pieces]
    return [base64.b64encode(piece).decode() for piece in pieces]


def to_ids(ids: schema_pb2.IDs, *, int64_as_text: bool) -> list[int | str]:
    """Write primary keys."""
    if ids.HasField("str_id"):
        return list(ids.str_id.data)
    if int64_as_text:
        return [str(value) for value in ids.int_id.data]
    return list(ids.int_id.data)


def to_hits(
    found: schema_pb2.SearchResultData, *, asked_for: Collection[str], int64_as_text: bool
) -> list[dict[str, Any]]:
    """Turn the result of a search into one list of hits, all queries' after each other."""
    ids = to_ids(found.ids, int64_as_text=int64_as_text)
    wanted = {*asked_for, *found.output_fields}
    rows = to_rows(found.fields_data, asked_for=wanted, int64_as_text=int64_as_text)
    rows = rows or [{} for _ in ids]
    return [
        row | {"id": key, "distance": np.float32(score)}
        for row, key, score in zip(rows, ids, found.scores, strict=True)
    ]
