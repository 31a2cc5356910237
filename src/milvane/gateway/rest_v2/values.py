"""
Single values between JSON and Milvus's types. Pure.

Numbers may come as text, as Milvus allows and clients without 64-bit integers need.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from milvane.messages import schema_pb2

_DataType = schema_pb2.DataType
_INT_BITS = MappingProxyType(
    {_DataType.Int8: 8, _DataType.Int16: 16, _DataType.Int32: 32, _DataType.Int64: 64}
)
TEXT_TYPES = frozenset(
    {
        _DataType.VarChar,
        _DataType.String,
        _DataType.Text,
        _DataType.Geometry,
        _DataType.Timestamptz,
    }
)
SLOTS: Mapping[int, str] = MappingProxyType(
    {
        _DataType.Bool: "bool_data",
        _DataType.Int8: "int_data",
        _DataType.Int16: "int_data",
        _DataType.Int32: "int_data",
        _DataType.Int64: "long_data",
        _DataType.Float: "float_data",
        _DataType.Double: "double_data",
        _DataType.VarChar: "string_data",
        _DataType.String: "string_data",
        _DataType.Text: "string_data",
        _DataType.Timestamptz: "string_data",
        _DataType.Geometry: "geometry_wkt_data",
        _DataType.JSON: "json_data",
        _DataType.Array: "array_data",
    }
)
"""The part of a column that holds values of a scalar type."""
VECTOR_TYPES = frozenset(
    {
        _DataType.FloatVector,
        _DataType.BinaryVector,
        _DataType.Float16Vector,
        _DataType.BFloat16Vector,
        _DataType.SparseFloatVector,
        _DataType.Int8Vector,
    }
)
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class Unreadable(ValueError):
    """A JSON value is not one of the type; the message says why."""


def read_scalar(value: Any, data_type: int) -> Any:
    """
    Read a JSON value as one of a scalar type.

    Raises:
        Unreadable: If it is none.
    """
    if data_type == _DataType.Bool:
        return _read_bool(value)
    if data_type in _INT_BITS:
        return _read_int(value, _INT_BITS[data_type])
    if data_type in (_DataType.Float, _DataType.Double):
        return _read_float(value, single=data_type == _DataType.Float)
    if data_type in TEXT_TYPES:
        return _read_text(value)
    if data_type == _DataType.JSON:
        return write_json(value)
    raise Unreadable(f"values of type {type_name(data_type)} cannot be sent over REST")


def write_json(value: Any) -> bytes:
    """
    Write what was read from JSON as JSON.

    Raises:
        Unreadable: If it is nested deeper than is written; reading goes deeper.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise Unreadable("it is nested too deeply: 250 levels are taken") from error


def type_name(data_type: int) -> str:
    """Name a data type; its number if it has no name yet."""
    return _DataType.Name(data_type) if data_type in _DataType.values() else str(data_type)


def _read_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value) if isinstance(value, str | int) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Unreadable("it is neither true nor false")


def _read_int(value: Any, bits: int) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable("it is not an integer")
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise Unreadable("value out of range")
    return value


def _read_float(value: Any, *, single: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unreadable("it is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise Unreadable("it is not a number") from error
    if not np.isfinite(number) or (single and abs(number) > _MAX_FLOAT32):
        raise Unreadable("value out of range")
    return number


def _read_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return write_json(value).decode()
    raise Unreadable("it is not a text")


def read_array(value: Any, element_type: int) -> schema_pb2.ScalarField:
    """
    Read a JSON list as an array.

    Raises:
        Unreadable: If it is none, or an element is not of the type.
    """
    if not isinstance(value, list):
        raise Unreadable("it is not a list")
    if element_type not in SLOTS or element_type in (_DataType.Array, _DataType.JSON):
        raise Unreadable(f"arrays of {type_name(element_type)} cannot be sent over REST")
    field = schema_pb2.ScalarField()
    slot = getattr(field, SLOTS[element_type])
    slot.SetInParent()
    slot.data.extend([read_scalar(element, element_type) for element in value])
    return field


def read_numbers(value: Any, dimension: int) -> NDArray[np.float32]:
    """
    Read a dense vector.

    Returns:
        Shape ``(dimension,)``.

    Raises:
        Unreadable: If it is not a list of so many finite numbers.
    """
    if not isinstance(value, list) or not all(type(number) in (int, float) for number in value):
        raise Unreadable("it is not a list of numbers")
    if len(value) != dimension:
        raise Unreadable(f"dimension: {dimension}, but length of []float: {len(value)}")
    try:
        with np.errstate(over="ignore"):
            numbers = np.asarray(value, dtype="<f8").astype("<f4")
    except OverflowError as error:
        raise Unreadable("value out of range") from error
    if not np.isfinite(numbers).all():
        raise Unreadable("value out of range")
    return numbers


def read_vector_bytes(value: Any, data_type: int, dimension: int) -> bytes:
    """
    Read a vector whose components have no type of their own in JSON.

    Args:
        value: Its bytes in base64, or its components: numbers, or bytes of a binary vector.

        data_type: Binary, float16, bfloat16 or int8.

        dimension: Components; bits of a binary vector.

    Raises:
        Unreadable: If it is none of these.
    """
    width = {
        _DataType.BinaryVector: dimension // 8,
        _DataType.Int8Vector: dimension,
    }.get(data_type, 2 * dimension)
    if isinstance(value, str):
        try:
            decoded = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Unreadable("it is not base64") from error
    elif data_type in (_DataType.BinaryVector, _DataType.Int8Vector):
        decoded = _pack_bytes(value, signed=data_type == _DataType.Int8Vector)
    else:
        decoded = _narrow(read_numbers(value, dimension), data_type)
    if len(decoded) != width:
        raise Unreadable(f"dimension: {dimension}, but length of []byte: {len(decoded)}")
    return decoded


def _pack_bytes(value: Any, *, signed: bool) -> bytes:
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise Unreadable("it is not a list of integers")
    low, high = (-128, 127) if signed else (0, 255)
    if not all(low <= number <= high for number in value):
        raise Unreadable("value out of range")
    return bytes(number & 0xFF for number in value)


def _narrow(numbers: NDArray[np.float32], data_type: int) -> bytes:
    if data_type == _DataType.Float16Vector:
        with np.errstate(over="ignore"):
            return numbers.astype("<f2").tobytes()
    bits = numbers.view("<u4").astype("<u8")
    rounded = bits + 0x7FFF + (bits >> 16 & 1)  # to the nearest, ties to even
    return (rounded >> 16).astype("<u2").tobytes()


def read_sparse(value: Any) -> bytes:
    """
    Read a sparse vector: ``{"1": 0.5}``, or ``{"indices": [1], "values": [0.5]}``.

    Returns:
        Pairs of a 32-bit index and a 32-bit float, by index, little-endian.

    Raises:
        Unreadable: If it is neither, an index is doubled or out of range, or a value not finite.
    """
    pairs = sorted(_sparse_pairs(value))
    indices = [index for index, _ in pairs]
    if len(set(indices)) < len(indices):
        raise Unreadable("an index of the sparse vector is given twice")
    if indices and not 0 <= indices[0] <= indices[-1] < 2**32 - 1:
        raise Unreadable("an index of the sparse vector is out of range")
    packed = np.empty(len(pairs), dtype=[("index", "<u4"), ("value", "<f4")])
    packed["index"] = indices
    packed["value"] = [number for _, number in pairs]
    return packed.tobytes()


def _sparse_pairs(value: Any) -> list[tuple[int, float]]:
    if not isinstance(value, dict):
        raise Unreadable("it is not a sparse vector")
    keys: Sequence[Any] = list(value)
    numbers: Sequence[Any] = list(value.values())
    if set(value) == {"indices", "values"}:
        keys, numbers = value["indices"], value["values"]
        if not isinstance(keys, list) or not isinstance(numbers, list) or len(keys) != len(numbers):
            raise Unreadable("indices and values of the sparse vector do not fit together")
    return [
        (_read_int(key, 64), _read_float(number, single=True))
        for key, number in zip(keys, numbers, strict=True)
    ]


def write_sparse(packed: bytes) -> dict[str, np.float32]:
    """Write a sparse vector as ``{"1": 0.5}``."""
    pairs = np.frombuffer(packed, dtype=[("index", "<u4"), ("value", "<f4")])
    return {str(index): value for index, value in zip(pairs["index"], pairs["value"], strict=True)}


ScalarWriter = Callable[[Any], Any]


def scalar_writer(data_type: int, *, int64_as_text: bool) -> ScalarWriter:
    """Choose how values of a scalar type are written."""
    if data_type == _DataType.Int64 and int64_as_text:
        return str
    if data_type == _DataType.Float:
        return np.float32  # so that 0.1 is written as 0.1, not as what a double makes of it
    if data_type == _DataType.JSON:
        return _parse_json
    return _unchanged


def _parse_json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return content.decode(errors="replace")


def _unchanged(value: Any) -> Any:
    return value
