"""Columns of the Milvus protocol as Arrow tables, and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from milvane.domain.errors import InvalidInput
from milvane.messages import schema_pb2
from milvane.transfer.columns import (
    PACKED_SLOTS,
    SCALAR_SLOTS,
    Page,
    packed_floats,
    packed_width,
    page_of,
)

_Type = schema_pb2.DataType
_NOTE = b"milvus"
_SCALAR_TYPES = {
    _Type.Bool: pa.bool_(),
    _Type.Int8: pa.int8(),
    _Type.Int16: pa.int16(),
    _Type.Int32: pa.int32(),
    _Type.Int64: pa.int64(),
    _Type.Float: pa.float32(),
    _Type.Double: pa.float64(),
    _Type.VarChar: pa.string(),
    _Type.Text: pa.string(),
    _Type.JSON: pa.string(),
    _Type.Timestamptz: pa.string(),
    _Type.Geometry: pa.string(),
}


def to_table(page: Page) -> pa.Table:
    """
    Write a page as a table that other programs can read.

    Numbers, texts and lists of them are columns of their kind, JSON is text, float vectors are
    lists of fixed size. Sparse vectors are bytes: index (unsigned) and value, four bytes each.

    Raises:
        InvalidInput: If a field has a type that a table does not take.
    """
    fields, arrays = [], []
    for column in page.columns:
        array = _to_array(column, page.rows)
        note = json.dumps(_note(column))
        fields.append(pa.field(column.field_name, array.type, metadata={_NOTE: note}))
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def to_page(table: pa.Table, primary: str) -> Page | None:
    """
    Read a page from such a table.

    Raises:
        InvalidInput: If the table was not written by `to_table`.
    """
    columns = []
    for field in table.schema:
        note = (field.metadata or {}).get(_NOTE)
        if note is None:
            raise InvalidInput(f"the column {field.name} does not say what it is in Milvus")
        columns.append(_to_column(field.name, json.loads(note), table.column(field.name)))
    return page_of(columns, primary)


def _note(column: schema_pb2.FieldData) -> dict[str, Any]:
    note = {
        "type": _Type.Name(column.type),
        "dim": int(column.vectors.dim),
        "is_dynamic": column.is_dynamic,
        "element": _Type.Name(column.scalars.array_data.element_type),
    }
    return {name: value for name, value in note.items() if value not in (0, False, "None")}


def _to_array(column: schema_pb2.FieldData, rows: int) -> pa.Array:
    if column.type == _Type.FloatVector:
        return _float_vectors(column)
    if column.type == _Type.SparseFloatVector:
        contents = list(column.vectors.sparse_float_vector.contents)
        return pa.array(_spread(column, contents, rows), pa.binary())
    if column.type in PACKED_SLOTS:
        packed, width = getattr(column.vectors, PACKED_SLOTS[column.type]), packed_width(column)
        parts = [packed[start : start + width] for start in range(0, len(packed), width)]
        return pa.array(_spread(column, parts, rows), pa.binary(width))
    if column.type == _Type.Array:
        element = column.scalars.array_data.element_type
        lists = [_list_of(row) for row in column.scalars.array_data.data]
        return pa.array(_spread(column, lists, rows), pa.list_(_SCALAR_TYPES[element]))
    if column.type not in _SCALAR_TYPES:
        raise InvalidInput(
            f"the field {column.field_name} has the type {_Type.Name(column.type)}, which a file "
            "cannot hold: use `milvane migrate` from server to server"
        )
    values = getattr(column.scalars, SCALAR_SLOTS[column.type]).data
    texts = [each.decode() for each in values] if column.type == _Type.JSON else list(values)
    return pa.array(_spread(column, texts, rows), _SCALAR_TYPES[column.type])


def _spread(column: schema_pb2.FieldData, present: Sequence[Any], rows: int) -> list[Any]:
    """Put nulls where the column has them."""
    if not column.valid_data:
        return list(present) if present else [None] * rows
    left = iter(present)
    return [next(left) if is_there else None for is_there in column.valid_data]


def _float_vectors(column: schema_pb2.FieldData) -> pa.Array:
    flat, dimension = packed_floats(column.vectors.float_vector), int(column.vectors.dim)
    if not column.valid_data or all(column.valid_data):
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dimension)
    vectors = flat.reshape(-1, dimension).tolist()
    spread = _spread(column, vectors, len(column.valid_data))
    return pa.array(spread, pa.list_(pa.float32(), dimension))


def _list_of(row: schema_pb2.ScalarField) -> list[Any]:
    kind = row.WhichOneof("data")
    return list(getattr(row, kind).data) if kind else []


def _to_column(name: str, note: dict[str, Any], array: Any) -> schema_pb2.FieldData:
    kind = _Type.Value(note["type"])
    column = schema_pb2.FieldData(
        type=kind, field_name=name, is_dynamic=note.get("is_dynamic", False)
    )
    if array.null_count:
        column.valid_data.extend(array.is_valid().to_pylist())
    present = array.drop_null().combine_chunks()
    if kind in _VECTORS:
        _fill_vectors(column, note, present)
    elif kind == _Type.Array:
        element = _Type.Value(note["element"])
        column.scalars.array_data.element_type = element
        for values in present.to_pylist():
            slot = getattr(column.scalars.array_data.data.add(), SCALAR_SLOTS[element])
            slot.data.extend(values)
            slot.SetInParent()
    else:
        values = present.to_pylist()
        encoded = [each.encode() for each in values] if kind == _Type.JSON else values
        slot = getattr(column.scalars, SCALAR_SLOTS[kind])
        slot.data.extend(encoded)
        slot.SetInParent()
    return column


_VECTORS = frozenset({_Type.FloatVector, _Type.SparseFloatVector, *PACKED_SLOTS})


def _fill_vectors(column: schema_pb2.FieldData, note: dict[str, Any], present: Any) -> None:
    column.vectors.dim = note.get("dim", 0)
    if column.type == _Type.FloatVector:
        flat = present.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        column.vectors.float_vector.data.extend(flat)
        column.vectors.float_vector.SetInParent()
    elif column.type == _Type.SparseFloatVector:
        column.vectors.sparse_float_vector.dim = note.get("dim", 0)
        column.vectors.sparse_float_vector.contents.extend(present.to_pylist())
        column.vectors.sparse_float_vector.SetInParent()
    else:
        setattr(column.vectors, PACKED_SLOTS[column.type], b"".join(present.to_pylist()))
