from __future__ import annotations

import pytest
from pymilvus.grpc_gen import schema_pb2

from milvane.transfer.columns import Page
from milvane.transfer.endpoints import next_limit


def page(rows: int, text_bytes: int) -> Page:
    """Make a page of equal texts."""
    column = schema_pb2.FieldData(type=schema_pb2.DataType.VarChar, field_name="id")
    column.scalars.string_data.data.extend(["x" * text_bytes] * rows)
    return Page((column,), rows, "x")


@pytest.mark.parametrize(
    ("limit", "text_bytes", "lowest", "highest"),
    [
        (64, 10, 256, 256),
        (1_000, 10, 2_000, 2_000),
        (1_000, 100_000, 9, 10),
        (1_000, 5_000_000, 1, 1),
    ],
)
def test_pages_grow_step_by_step_and_shrink_at_once(
    limit: int, text_bytes: int, lowest: int, highest: int
) -> None:
    """However long texts are, the next page fits, and something moves."""
    assert lowest <= next_limit(limit, page(3, text_bytes), 1_000_000) <= highest
