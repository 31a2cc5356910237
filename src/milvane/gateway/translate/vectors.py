"""
Vectors as Milvus's messages hold them: columns of rows, and the queries of a search. Pure.

A sparse vector is a row of bytes: an unsigned 32-bit index and a 32-bit float for each term, both
little-endian, indexes ascending.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from milvane.domain.errors import InvalidInput
from milvane.domain.vectors import SparseVector
from milvane.gateway.translate.framing import tagged
from milvane.messages import common_pb2, schema_pb2
from milvane.serving.functions import AnyVectors

_DataType = schema_pb2.DataType
_PlaceholderType = common_pb2.PlaceholderType
_TERM = np.dtype([("index", "<u4"), ("value", "<f4")])
_NO_INDEX = 0xFFFF_FFFF
"""The one index that Milvus keeps for itself."""
_NO_TERMS = SparseVector(np.array([_NO_INDEX - 1], np.uint32), np.array([2**-20], np.float32))
"""
What is stored of a text without terms, such as punctuation alone.

Not every Milvus stores a row without terms. This term has no text and no question, so nobody finds
the row by it.
"""


def vector_column(field: schema_pb2.FieldSchema, vectors: AnyVectors) -> schema_pb2.FieldData:
    """
    Write embedded vectors as a column.

    Args:
        field: The vector field that they fill.

        vectors: Of the field's kind, one for each row.
    """
    column = schema_pb2.FieldData(field_name=field.name, field_id=field.fieldID)
    if _are_sparse(vectors):
        stored = [vector if len(vector.indexes) else _NO_TERMS for vector in vectors]
        column.type = _DataType.SparseFloatVector
        column.vectors.dim = max((int(vector.indexes[-1]) + 1 for vector in stored), default=0)
        sparse = column.vectors.sparse_float_vector
        sparse.dim = column.vectors.dim
        sparse.contents.extend(pack_terms(vector) for vector in stored)
        return column
    column.vectors.dim = vectors.shape[1]
    if vectors.dtype == np.int8:
        column.type = _DataType.Int8Vector
        column.vectors.int8_vector = np.ascontiguousarray(vectors).tobytes()
        return column
    column.type = _DataType.FloatVector
    # A packed float array on the wire is its little-endian bytes: merging them is one copy, where
    # `extend` would make a Python float of each component.
    packed = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
    column.vectors.float_vector.MergeFromString(tagged(1, packed))
    return column


def vector_placeholder(vectors: AnyVectors) -> bytes:
    """
    Write query vectors as a placeholder group.

    Args:
        vectors: Of the field's kind, one for each query.
    """
    group = common_pb2.PlaceholderGroup()
    placeholder = group.placeholders.add(tag="$0")
    if _are_sparse(vectors):
        placeholder.type = _PlaceholderType.SparseFloatVector
        placeholder.values.extend(pack_terms(vector) for vector in vectors)
        return group.SerializeToString()
    is_int8 = vectors.dtype == np.int8
    rows = np.ascontiguousarray(vectors, dtype=np.int8 if is_int8 else "<f4")
    placeholder.type = _PlaceholderType.Int8Vector if is_int8 else _PlaceholderType.FloatVector
    placeholder.values.extend(row.tobytes() for row in rows)
    return group.SerializeToString()


def pack_terms(vector: SparseVector) -> bytes:
    """Write a sparse vector as its row of bytes."""
    terms = np.empty(len(vector.indexes), _TERM)
    terms["index"], terms["value"] = vector.indexes, vector.values
    return terms.tobytes()


def check_sparse_rows(rows: Sequence[bytes], field: str) -> None:
    """
    Check the sparse vectors that a client brings.

    Raises:
        InvalidInput: With Milvus's message and the row of the first vector that is none.
    """
    for row, packed in enumerate(rows):
        if len(packed) % _TERM.itemsize:
            raise InvalidInput(
                f"invalid data length in sparse float vector: {len(packed)}, field {field}, "
                f"row number: {row}"
            )
    ends = np.cumsum([len(packed) // _TERM.itemsize for packed in rows], dtype=np.intp)
    terms = np.frombuffer(b"".join(rows), _TERM)
    index, value = terms["index"], terms["value"]
    _refuse(~np.isfinite(value), "value is not a number or infinity", field, ends)
    _refuse(value < 0, "negative value is not allowed in sparse float vector", field, ends)
    _refuse(index == _NO_INDEX, "invalid index in sparse float vector", field, ends)
    descends = np.zeros(len(terms), np.bool_)
    descends[1:] = index[1:] <= index[:-1]
    descends[ends[ends < len(terms)]] = False  # a vector's first term follows another vector's last
    _refuse(descends, "unsorted or same indices in sparse float vector", field, ends)


def _refuse(wrong: NDArray[np.bool_], what: str, field: str, ends: NDArray[np.intp]) -> None:
    if wrong.any():
        row = int(np.searchsorted(ends, np.argmax(wrong), side="right"))
        raise InvalidInput(f"{what}: field {field}, row number: {row}")


def _are_sparse(vectors: AnyVectors) -> TypeIs[Sequence[SparseVector]]:
    return not isinstance(vectors, np.ndarray)
