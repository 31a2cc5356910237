"""
Rows as JSON objects into the columns of an Insert or Upsert. Pure.

Only what JSON cannot say is settled here: types, nulls, what is dynamic. Whether the rows fit the
collection is checked where the rows of gRPC clients are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from milvane.gateway.rest_v2.failures import Refusal, bad_rows, invalid_text
from milvane.gateway.rest_v2.values import (
    SLOTS,
    VECTOR_TYPES,
    Unreadable,
    read_array,
    read_numbers,
    read_scalar,
    read_sparse,
    read_vector_bytes,
    type_name,
    write_json,
)
from milvane.gateway.translate.schemas import field_dimension
from milvane.messages import schema_pb2

DYNAMIC_FIELD = "$meta"

_DataType = schema_pb2.DataType
_BYTES_PARTS = {
    _DataType.BinaryVector: "binary_vector",
    _DataType.Float16Vector: "float16_vector",
    _DataType.BFloat16Vector: "bfloat16_vector",
    _DataType.Int8Vector: "int8_vector",
}

Row = Mapping[str, Any]


def to_columns(
    rows: Sequence[Any], schema: schema_pb2.CollectionSchema, *, partial: bool
) -> list[schema_pb2.FieldData]:
    """
    Turn rows into columns.

    Args:
        rows: What the request has; each should be an object.

        schema: The collection's, as clients see it.

        partial: Whether fields may be left out because their values stay.

    Raises:
        Refusal: If a row is no object, misses a field, has one too many, or a value of another
            type.
    """
    for row in rows:
        if not isinstance(row, dict):
            raise bad_rows(invalid_text("a row has to be an object", expected="JSON", actual=row))
    fields = [field for field in schema.fields if not field.is_dynamic]
    columns = [
        _column(field, rows, partial=partial)
        for field in fields
        if not _is_left_out(field, rows, partial=partial)
    ]
    extras = _extras(rows, schema, {field.name for field in fields})
    if schema.enable_dynamic_field and not (partial and not any(extras)):
        dynamic = schema_pb2.FieldData(
            field_name=DYNAMIC_FIELD, type=_DataType.JSON, is_dynamic=True
        )
        dynamic.scalars.json_data.data.extend(map(_write_extra, range(len(extras)), extras))
        columns.append(dynamic)
    return columns


def _is_left_out(field: schema_pb2.FieldSchema, rows: Sequence[Row], *, partial: bool) -> bool:
    may_be = partial or field.is_function_output or field.autoID
    return may_be and not any(field.name in row for row in rows)


def _extras(
    rows: Sequence[Row], schema: schema_pb2.CollectionSchema, names: set[str]
) -> list[dict[str, Any]]:
    """Collect what the schema does not name, row by row."""
    structs = {field.name for field in schema.struct_array_fields}
    extras = []
    for row in rows:
        extra = {key: value for key, value in row.items() if key not in names}
        if extra and not schema.enable_dynamic_field:
            raise bad_rows(
                invalid_text(
                    "has pass more field without dynamic schema, please check it: "
                    + ", ".join(extra)
                )
            )
        if DYNAMIC_FIELD in extra:
            raise bad_rows(
                invalid_text(
                    f"use the invalid field name({DYNAMIC_FIELD}) when enable dynamicField"
                )
            )
        if structs & extra.keys():
            raise bad_rows(invalid_text("arrays of structs cannot be sent over REST"))
        extras.append(extra)
    return extras


def _write_extra(number: int, extra: Row) -> bytes:
    try:
        return write_json(extra)
    except Unreadable as error:
        raise bad_rows(invalid_text(f"dynamic field, row {number}: {error}")) from error


def _column(
    field: schema_pb2.FieldSchema, rows: Sequence[Row], *, partial: bool
) -> schema_pb2.FieldData:
    column = schema_pb2.FieldData(field_name=field.name, type=field.data_type)
    optional = field.nullable or field.HasField("default_value")
    values = []
    for number, row in enumerate(rows):
        value = row.get(field.name)
        if optional:
            if partial and field.name not in row:
                raise _missing(field, number)
            column.valid_data.append(value is not None)
        elif value is None and not (field.name in row and field.data_type == _DataType.JSON):
            raise _missing(field, number)
        if value is not None or not optional:
            values.append((number, value))
    if field.data_type in VECTOR_TYPES:
        _fill_vectors(column.vectors, field, values)
    else:
        _fill_scalars(column.scalars, field, values)
    return column


def _missing(field: schema_pb2.FieldSchema, number: int) -> Refusal:
    what = "vector field" if field.data_type in VECTOR_TYPES else "field"
    return bad_rows(
        invalid_text(
            f"missing {what}: {field.name}, row {number}",
            expected=type_name(field.data_type),
            actual="",
        )
    )


def _fill_scalars(
    scalars: schema_pb2.ScalarField,
    field: schema_pb2.FieldSchema,
    values: Sequence[tuple[int, Any]],
) -> None:
    slot = getattr(scalars, SLOTS.get(field.data_type, "string_data"))
    slot.SetInParent()
    if field.data_type == _DataType.Array:
        slot.element_type = field.element_type
    slot.data.extend([_read(_read_scalar, field, number, value) for number, value in values])


def _fill_vectors(
    vectors: schema_pb2.VectorField,
    field: schema_pb2.FieldSchema,
    values: Sequence[tuple[int, Any]],
) -> None:
    vectors.dim = field_dimension(field)
    packed = [_read(_read_vector, field, number, value) for number, value in values]
    if field.data_type == _DataType.FloatVector:
        vectors.float_vector.SetInParent()
        vectors.float_vector.data.extend(np.frombuffer(b"".join(packed), dtype="<f4").tolist())
    elif field.data_type == _DataType.SparseFloatVector:
        vectors.sparse_float_vector.SetInParent()
        vectors.sparse_float_vector.contents.extend(packed)
        widths = [int.from_bytes(row[-8:-4], "little") + 1 for row in packed if row]
        vectors.sparse_float_vector.dim = vectors.dim = max(widths, default=0)
    else:
        setattr(vectors, _BYTES_PARTS[field.data_type], b"".join(packed))


def _read(
    reader: Callable[[schema_pb2.FieldSchema, Any], Any],
    field: schema_pb2.FieldSchema,
    number: int,
    value: Any,
) -> Any:
    try:
        return reader(field, value)
    except Unreadable as error:
        raise _misfit(field, number, value, error) from error


def _read_scalar(field: schema_pb2.FieldSchema, value: Any) -> Any:
    if field.data_type == _DataType.Array:
        return read_array(value, field.element_type)
    return read_scalar(value, field.data_type)


def _read_vector(field: schema_pb2.FieldSchema, value: Any) -> bytes:
    if field.data_type == _DataType.FloatVector:
        return read_numbers(value, field_dimension(field)).tobytes()
    if field.data_type == _DataType.SparseFloatVector:
        return read_sparse(value)
    return read_vector_bytes(value, field.data_type, field_dimension(field))


def _misfit(field: schema_pb2.FieldSchema, number: int, value: Any, error: Unreadable) -> Refusal:
    try:
        shown = str(value)
    except RecursionError:
        shown = "a deeply nested value"
    if len(shown) > 100:
        shown = f"{shown[:100]}..."
    return bad_rows(
        invalid_text(
            f"field {field.name}, row {number}: {error}",
            expected=type_name(field.data_type),
            actual=shown,
        )
    )
