"""Rows are taken in as Milvus Lite takes them: the same values, the same refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from milvus_lite.adapter.grpc.translators.records import fields_data_to_records
from milvus_lite.exceptions import SchemaValidationError
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema
from milvus_lite.schema.validation import validate_record
from milvus_lite.storage.data_file import write_data_file
from pymilvus.grpc_gen import schema_pb2

from milvane.instances.lite.files import write_rows
from milvane.instances.lite.intake import decode, validate

SCHEMA = CollectionSchema(
    fields=[
        FieldSchema(name="id", dtype=DataType.INT64, is_primary=True),
        FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=3),
        FieldSchema(name="word", dtype=DataType.VARCHAR, max_length=4, default_value="none"),
    ]
)


def columns(numbers: list[float], *, dimension: int = 3, valid: list[bool] | None = None) -> Any:
    """Make the columns of a message of two rows."""
    return [
        schema_pb2.FieldData(
            type=schema_pb2.DataType.Int64,
            field_name="id",
            scalars=schema_pb2.ScalarField(long_data=schema_pb2.LongArray(data=[1, 2])),
        ),
        schema_pb2.FieldData(
            type=schema_pb2.DataType.FloatVector,
            field_name="vector",
            valid_data=valid or [],
            vectors=schema_pb2.VectorField(
                dim=dimension, float_vector=schema_pb2.FloatArray(data=numbers)
            ),
        ),
    ]


def plain(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn arrays into lists."""
    return [
        {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in each.items()
        }
        for each in records
    ]


@pytest.mark.parametrize(
    ("numbers", "valid"),
    [
        ([0.1, 2, 3, 4, 5, 1e-9], None),
        ([0.1, 2, 3], [False, True]),
        ([0.1, 2, 3, 4, 5, 6], [True, False]),
        ([0.1, 2, 3], None),
        ([], None),
    ],
)
def test_messages_become_the_same_records(numbers: list[float], valid: list[bool] | None) -> None:
    """Whatever the columns hold, records or words of refusal are equal."""
    said = []
    for make in (decode, fields_data_to_records):
        try:
            said.append(plain(make(columns(numbers, valid=valid), 2)))
        except SchemaValidationError as refusal:
            said.append(str(refusal))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"vector": [1.0, 2.0]},
        {"vector": None},
        {"word": "too long"},
        {"word": "ok"},
        {"word": 7},
        {"id": None},
        {"stranger": 1},
    ],
)
def test_records_are_checked_and_completed_the_same(changes: dict[str, Any]) -> None:
    """A vector in an array is refused or accepted as one in a list is, with all that is beside."""
    outcomes = []
    for check, kind in ((validate, np.asarray), (validate_record, list)):
        record: dict[str, Any] = {"id": 1, "vector": [1.0, 2.0, 3.0], **changes}
        if record["vector"] is not None:
            record["vector"] = kind(record["vector"])
        try:
            check(record, SCHEMA)
            outcomes.append(str(plain([record])[0]["word"]))
        except SchemaValidationError as refusal:
            outcomes.append(str(refusal))
    assert outcomes[0] == outcomes[1]


def test_files_hold_what_milvus_lites_writer_would_write(tmp_path: Path) -> None:
    """Segments have the same names and are read back as the same rows."""
    rows = pa.table(
        {
            "_seq": pa.array([3, 4], pa.uint64()),
            "tags": [["a"], []],
            "word": ["x", None],
            "vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        }
    )
    ours = write_rows(rows, str(tmp_path / "ours"), 3, 4)
    theirs = write_data_file(rows, str(tmp_path / "theirs"), 3, 4)
    assert ours == theirs
    assert pq.read_table(tmp_path / "ours" / ours) == rows
