"""
Rows of an Insert or Upsert: check them against the schema, take the texts, add the vectors.

Pure. Everything here happens before anything is embedded, so that a bad row costs no tokens. Rules
and wording follow Milvus 2.6; what is not checked here (JSON, arrays, ranges) the upstream checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from milvane.domain.errors import InvalidInput
from milvane.gateway.translate.framing import tagged
from milvane.gateway.translate.functions import EmbeddingFunction, FunctionTexts
from milvane.gateway.translate.schemas import field_dimension
from milvane.gateway.translate.vectors import check_sparse_rows
from milvane.messages import milvus_pb2, schema_pb2
from milvane.serving.functions import join_failures

ALLOW_OUTPUTS_KEY = "collection.function.allowInsertNonBM25FunctionOutputs"

_DataType = schema_pb2.DataType
_FIELDS_DATA = milvus_pb2.InsertRequest.DESCRIPTOR.fields_by_name["fields_data"].number

WriteRequest: TypeAlias = milvus_pb2.InsertRequest | milvus_pb2.UpsertRequest
Columns: TypeAlias = Mapping[str, schema_pb2.FieldData]


def plan_embedding(
    request: WriteRequest,
    schema: schema_pb2.CollectionSchema,
    functions: Sequence[EmbeddingFunction],
    *,
    allow_outputs: bool,
) -> list[FunctionTexts]:
    """
    Check a write's columns and say which texts have to be embedded for it.

    Args:
        request: The client's rows, by column.

        schema: The collection's schema as clients see it.

        functions: Its embedding functions.

        allow_outputs: Whether the collection lets clients bring their own output vectors.

    Returns:
        One entry for each function that has to run, in schema order. A function does not run if
        its vectors were brought (and may be), or if a partial update leaves its text alone.

    Raises:
        InvalidInput: With Milvus's message, naming the function, field and row where there is one.
    """
    partial = isinstance(request, milvus_pb2.UpsertRequest) and (
        request.partial_update or len(request.field_ops) > 0
    )
    columns = _columns_by_name(request.fields_data)
    _check_bound(schema, functions)
    pending = [
        function
        for function in functions
        if _must_run(function, columns, partial=partial, allow_outputs=allow_outputs)
    ]
    _check_columns(request, schema, columns, outputs={f.output_field for f in functions})
    if not partial:
        is_upsert = isinstance(request, milvus_pb2.UpsertRequest)
        _check_complete(schema, columns, is_upsert=is_upsert)
    return _all_texts(pending, columns)


def _check_bound(
    schema: schema_pb2.CollectionSchema, functions: Sequence[EmbeddingFunction]
) -> None:
    """Refuse rows of a collection that lost a field of a function behind the gateway's back."""
    names = {field.name for field in schema.fields}
    for function in functions:
        if not {function.input_field, function.output_field} <= names:
            side = "outputs" if function.input_field in names else "inputs"
            raise InvalidInput(
                f"the collection [{schema.name}]'s information is wrong, function "
                f"[{function.name}]'s {side} does not match the schema: drop the function"
            )


def _columns_by_name(
    fields_data: Iterable[schema_pb2.FieldData],
) -> dict[str, schema_pb2.FieldData]:
    columns: dict[str, schema_pb2.FieldData] = {}
    for column in fields_data:
        if column.is_dynamic:
            continue
        if column.field_name in columns:
            raise InvalidInput(f"duplicated field name {column.field_name} in the request")
        columns[column.field_name] = column
    return columns


def _must_run(
    function: EmbeddingFunction, columns: Columns, *, partial: bool, allow_outputs: bool
) -> bool:
    where = f"function {function.name}, field {function.output_field}"
    if function.output_field in columns:
        if allow_outputs:
            return False
        raise InvalidInput(
            "Insert data has function output field, but collection's property "
            f"`{ALLOW_OUTPUTS_KEY}` is not enable: {where}"
        )
    if function.input_field in columns:
        return True
    if partial:
        return False
    raise InvalidInput(
        f"input field not found: function {function.name}, field {function.input_field}"
    )


def _check_columns(
    request: WriteRequest,
    schema: schema_pb2.CollectionSchema,
    columns: Columns,
    *,
    outputs: set[str],
) -> None:
    fields = {field.name: field for field in schema.fields}
    for name, column in columns.items():
        field = fields.get(name)
        if field is None:
            if not _is_struct_field(schema, name):
                raise InvalidInput(f"field {name} does not exist in collection {schema.name}")
            continue
        if column.type != field.data_type and name not in outputs:
            raise InvalidInput(
                f"the data type of field {name} does not match: the schema says "
                f"{_DataType.Name(field.data_type)}, the rows {_type_name(column.type)}"
            )
        _check_values(field, column, request.num_rows)


def _is_struct_field(schema: schema_pb2.CollectionSchema, name: str) -> bool:
    return any(field.name == name for field in schema.struct_array_fields)


def _type_name(value: int) -> str:
    return _DataType.Name(value) if value in _DataType.values() else str(value)


def _check_values(
    field: schema_pb2.FieldSchema, column: schema_pb2.FieldData, num_rows: int
) -> None:
    if field.data_type in (_DataType.VarChar, _DataType.Text):
        texts = column.scalars.string_data.data
        _check_count(field.name, column, len(texts), num_rows)
        _check_text_lengths(field, texts)
    elif field.data_type == _DataType.FloatVector:
        _check_vectors(field, column, num_rows)
    elif field.data_type == _DataType.SparseFloatVector:
        rows = column.vectors.sparse_float_vector.contents
        _check_count(field.name, column, len(rows), num_rows)
        check_sparse_rows(rows, field.name)
    elif field.data_type == _DataType.Int8Vector:
        _check_dimension(field, column, len(column.vectors.int8_vector))
        size = len(column.vectors.int8_vector) // max(field_dimension(field), 1)
        _check_count(field.name, column, size, num_rows)


def _check_count(name: str, column: schema_pb2.FieldData, values: int, num_rows: int) -> None:
    # A nullable column may leave its nulls out: then it holds one value for each valid row.
    if column.valid_data:
        valid = sum(column.valid_data)
        if len(column.valid_data) == num_rows and values in (valid, num_rows):
            return
    elif values == num_rows:
        return
    raise InvalidInput(
        f"the num_rows({values}) of {name} is not equal to passed num_rows({num_rows})"
    )


def _check_text_lengths(field: schema_pb2.FieldSchema, texts: Sequence[str]) -> None:
    limit = next((int(pair.value) for pair in field.type_params if pair.key == "max_length"), None)
    if limit is None:
        return
    for row, text in enumerate(texts):
        # UTF-8 needs at most four bytes a character, so most texts need no encoding to be passed.
        if 4 * len(text) > limit and len(text.encode()) > limit:
            raise InvalidInput(
                f"length of varchar field {field.name} exceeds max length, row number: {row}, "
                f"length: {len(text.encode())}, max length: {limit}"
            )


def _check_vectors(
    field: schema_pb2.FieldSchema, column: schema_pb2.FieldData, num_rows: int
) -> None:
    dimension = field_dimension(field)
    values = np.asarray(column.vectors.float_vector.data, dtype=np.float32)
    _check_dimension(field, column, values.size)
    _check_count(field.name, column, values.size // max(dimension, 1), num_rows)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite)) // dimension
        raise InvalidInput(
            f"value is not a number or infinity: field {field.name}, row number: {row}"
        )


def _check_dimension(
    field: schema_pb2.FieldSchema, column: schema_pb2.FieldData, components: int
) -> None:
    dimension = field_dimension(field)
    if column.vectors.dim != dimension or components % max(dimension, 1):
        raise InvalidInput(
            f"the dim ({column.vectors.dim}) of field data({field.name}) is not equal to schema "
            f"dim ({dimension})"
        )


def _check_complete(
    schema: schema_pb2.CollectionSchema, columns: Columns, *, is_upsert: bool
) -> None:
    for field in schema.fields:
        generated = field.is_function_output or (field.autoID and not is_upsert)
        optional = field.nullable or field.HasField("default_value") or field.is_dynamic
        if field.name not in columns and not generated and not optional:
            raise InvalidInput(f"fieldSchema({field.name}) has no corresponding fieldData pass in")


def _all_texts(functions: Iterable[EmbeddingFunction], columns: Columns) -> list[FunctionTexts]:
    """Read the texts of each function; tell of all functions that have a bad one."""
    found = [
        FunctionTexts(each, columns[each.input_field].scalars.string_data.data)
        for each in functions
    ]
    failures = [failure for each in found if (failure := _find_bad_text(each)) is not None]
    if failures:
        raise join_failures(failures)
    return [replace(each, texts=list(each.texts)) for each in found]


def _find_bad_text(asked: FunctionTexts) -> InvalidInput | None:
    where = f"function {asked.function.name}, field {asked.function.input_field}"
    if not asked.texts:
        return InvalidInput(f"input texts is empty: {where}")
    for row, text in enumerate(asked.texts):
        if not text:
            return InvalidInput(
                "there is an empty string in the input data, TextEmbedding function does not "
                f"support empty text: {where}, row {row}"
            )
    return None


def append_columns(request: bytes, columns: Iterable[schema_pb2.FieldData]) -> bytes:
    """
    Add columns to a serialized Insert or Upsert without touching the rest of it.

    Protocol Buffers define the concatenation of two messages as their merge, and merging appends
    to repeated fields; so whatever the client sent, unknown fields too, goes on as the same bytes.
    """
    return b"".join(
        [request, *(tagged(_FIELDS_DATA, column.SerializeToString()) for column in columns)]
    )
