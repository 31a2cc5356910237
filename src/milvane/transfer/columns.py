"""Columns of rows, as the Milvus protocol has them, and a checksum over them. Pure."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from milvane.messages import schema_pb2

_Type = schema_pb2.DataType

Key: TypeAlias = int | str

SCALAR_SLOTS = {
    _Type.Bool: "bool_data",
    _Type.Int8: "int_data",
    _Type.Int16: "int_data",
    _Type.Int32: "int_data",
    _Type.Int64: "long_data",
    _Type.Float: "float_data",
    _Type.Double: "double_data",
    _Type.VarChar: "string_data",
    _Type.Text: "string_data",
    _Type.JSON: "json_data",
    _Type.Array: "array_data",
    _Type.Timestamptz: "string_data",
    _Type.Geometry: "geometry_wkt_data",
}
"""Where the values of a column of each type are; the protocol has one list for each kind."""

PACKED_SLOTS = {
    _Type.BinaryVector: "binary_vector",
    _Type.Float16Vector: "float16_vector",
    _Type.BFloat16Vector: "bfloat16_vector",
    _Type.Int8Vector: "int8_vector",
}
"""Where vectors are whose components stand one behind the other as bytes."""

_WRITTEN_DIFFERENTLY = frozenset({_Type.Timestamptz, _Type.Geometry})
"""Types whose values every server writes in its own way: no checksum holds over them."""
_SUM_BITS = 128


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in the order of their keys, with as many values in each column."""

    columns: tuple[schema_pb2.FieldData, ...]
    rows: int
    last_key: Key


@dataclass(frozen=True, slots=True)
class Digest:
    """How many rows there are, and a sum over their hashes that is the same in any order."""

    rows: int = 0
    sum: int = 0

    def __add__(self, other: Digest) -> Digest:
        return Digest(self.rows + other.rows, (self.sum + other.sum) % (1 << _SUM_BITS))

    def __str__(self) -> str:
        return f"{self.sum:032x}"


def page_of(columns: Iterable[schema_pb2.FieldData], primary: str) -> Page | None:
    """
    Make a page of a response's columns, as they can be written again.

    Args:
        columns: With a value for every row, nulls included.

        primary: Which of them has the keys.

    Returns:
        Nothing if there are no rows.
    """
    columns = list(columns)
    keys = next((values_of(column) for column in columns if column.field_name == primary), [])
    if not keys:
        return None
    return Page(tuple(compacted(column, len(keys)) for column in columns), len(keys), keys[-1])


def values_of(column: schema_pb2.FieldData) -> Sequence[Any]:
    """Return the values of a scalar column as they are in it."""
    slot = getattr(column.scalars, SCALAR_SLOTS[column.type])
    values: Sequence[Any] = slot.data
    return values


def compacted(column: schema_pb2.FieldData, rows: int) -> schema_pb2.FieldData:
    """
    Leave the values out that stand for nulls, as a writer must.

    Args:
        column: As a reader gets it: a value for every row, or for every row that has one.

        rows: How many rows there are.

    Returns:
        A copy, without the field's number at its origin.
    """
    copy = schema_pb2.FieldData()
    copy.CopyFrom(column)
    copy.field_id = 0
    valid = list(column.valid_data)
    if not valid or all(valid):
        return copy
    if column.type in SCALAR_SLOTS:
        slot = getattr(copy.scalars, SCALAR_SLOTS[column.type])
        if len(slot.data) == rows:
            kept = [value for value, is_there in zip(slot.data, valid, strict=True) if is_there]
            del slot.data[:]
            slot.data.extend(kept)
            if column.type != _Type.Array:
                slot.SetInParent()
    elif column.type == _Type.FloatVector:
        flat = packed_floats(column.vectors.float_vector)
        if flat.size == rows * column.vectors.dim:
            kept_rows = flat.reshape(rows, -1)[np.array(valid)]
            del copy.vectors.float_vector.data[:]
            copy.vectors.float_vector.data.extend(kept_rows.ravel().tolist())
            copy.vectors.float_vector.SetInParent()
    return copy


def packed_floats(array: Any) -> Any:
    """Read a list of floats from its bytes on the wire, which are those of an array."""
    encoded = array.SerializeToString()
    start = 1  # the tag of the only field
    if not encoded:
        return np.zeros(0, dtype="<f4")
    while encoded[start] & 0x80:  # the length, seven bits a byte
        start += 1
    return np.frombuffer(encoded, dtype="<f4", offset=start + 1)


def digest_of(page: Page) -> Digest:
    """
    Sum up hashes of rows: over the name and value of every field that has one.

    What differs between servers although it means the same makes no difference here: how a null is
    marked, in which order an object's keys or a sparse vector's terms stand.
    """
    columns = sorted(
        (column for column in page.columns if column.type not in _WRITTEN_DIFFERENTLY),
        key=lambda column: column.field_name,
    )
    hashes = [hashlib.blake2b(digest_size=_SUM_BITS // 8) for _ in range(page.rows)]
    for column in columns:
        name = column.field_name.encode() + b"\0"
        for row_hash, value in zip(hashes, canonical_values(column, page.rows), strict=True):
            if value is not None:
                row_hash.update(name + struct.pack("<Q", len(value)) + value)
    total = sum(int.from_bytes(each.digest(), "little") for each in hashes)
    return Digest(page.rows, total % (1 << _SUM_BITS))


def canonical_values(column: schema_pb2.FieldData, rows: int) -> list[bytes | None]:
    """Write every value of a compacted column as bytes that are equal if the values are."""
    present = _canonical_present(column)
    valid = list(column.valid_data)
    if not valid:
        return present if present else [None] * rows
    left = iter(present)
    return [next(left) if is_there else None for is_there in valid]


def _canonical_present(column: schema_pb2.FieldData) -> list[bytes | None]:
    if column.type == _Type.FloatVector:
        flat = packed_floats(column.vectors.float_vector)
        return [row.tobytes() for row in flat.reshape(-1, max(1, column.vectors.dim))]
    if column.type == _Type.SparseFloatVector:
        return [_canonical_terms(each) for each in column.vectors.sparse_float_vector.contents]
    if column.type in PACKED_SLOTS:
        packed = getattr(column.vectors, PACKED_SLOTS[column.type])
        width = packed_width(column)
        return [packed[start : start + width] for start in range(0, len(packed), width)]
    write = _WRITERS.get(column.type)
    return [] if write is None else [write(value) for value in values_of(column)]


def packed_width(column: schema_pb2.FieldData) -> int:
    """Say how many bytes a vector of a packed column has."""
    dimension = int(column.vectors.dim)
    if column.type == _Type.BinaryVector:
        return dimension // 8
    return dimension if column.type == _Type.Int8Vector else 2 * dimension


def _canonical_terms(content: bytes) -> bytes:
    terms = np.frombuffer(content, dtype=[("index", "<u4"), ("value", "<f4")])
    return terms[np.argsort(terms["index"], kind="stable")].tobytes()


def _canonical_json(content: bytes) -> bytes | None:
    try:
        value = json.loads(content)
    except ValueError:
        return bytes(content)
    if value is None or value == {}:
        return None
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()


def _canonical_array(row: schema_pb2.ScalarField) -> bytes:
    kind = row.WhichOneof("data")
    return repr(list(getattr(row, kind).data) if kind else []).encode()


_WRITERS: dict[int, Callable[[Any], bytes | None]] = {
    **dict.fromkeys(
        (_Type.Bool, _Type.Int8, _Type.Int16, _Type.Int32, _Type.Int64),
        lambda value: str(int(value)).encode(),
    ),
    _Type.Float: lambda value: struct.pack("<f", value),
    _Type.Double: lambda value: struct.pack("<d", value),
    _Type.VarChar: lambda value: str(value).encode(),
    _Type.Text: lambda value: str(value).encode(),
    _Type.JSON: _canonical_json,
    _Type.Array: _canonical_array,
}
