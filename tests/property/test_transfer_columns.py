from __future__ import annotations

import json
import struct
from typing import Any

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st
from pymilvus.grpc_gen import schema_pb2

from milvane.transfer.columns import (
    SCALAR_SLOTS,
    Digest,
    Page,
    canonical_values,
    compacted,
    digest_of,
    page_of,
)
from milvane.transfer.tables import to_page, to_table

_Type = schema_pb2.DataType
DIMENSION = 3
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=5)
documents = st.dictionaries(texts, st.integers(), max_size=3)
terms = st.dictionaries(st.integers(0, 2**32 - 1), floats, min_size=1, max_size=3)


def sparse(weights: dict[int, float]) -> bytes:
    """Write a sparse vector as Milvus does, in the order given."""
    return b"".join(struct.pack("<If", index, value) for index, value in weights.items())


VALUES: dict[int, st.SearchStrategy[Any]] = {
    _Type.Bool: st.booleans(),
    _Type.Int8: st.integers(-128, 127),
    _Type.Int32: st.integers(-(2**31), 2**31 - 1),
    _Type.Int64: st.integers(-(2**63), 2**63 - 1),
    _Type.Float: floats,
    _Type.Double: st.floats(allow_nan=False),
    _Type.VarChar: texts,
    _Type.JSON: documents.map(lambda document: json.dumps(document).encode()),
    _Type.Array: st.lists(st.integers(-9, 9), max_size=3),
    _Type.FloatVector: st.lists(floats, min_size=DIMENSION, max_size=DIMENSION),
    _Type.SparseFloatVector: terms.map(sparse),
    _Type.Int8Vector: st.binary(min_size=DIMENSION, max_size=DIMENSION),
}


def column_of(name: str, kind: int, values: list[Any]) -> schema_pb2.FieldData:
    """Write a column as a writer does: nulls are marked, and have no value."""
    column = schema_pb2.FieldData(type=kind, field_name=name, field_id=7)
    if None in values:
        column.valid_data.extend(value is not None for value in values)
    present = [value for value in values if value is not None]
    if kind == _Type.FloatVector:
        column.vectors.dim = DIMENSION
        column.vectors.float_vector.data.extend(number for row in present for number in row)
    elif kind == _Type.SparseFloatVector:
        column.vectors.sparse_float_vector.contents.extend(present)
    elif kind == _Type.Int8Vector:
        column.vectors.dim = DIMENSION
        column.vectors.int8_vector = b"".join(present)
    elif kind == _Type.Array:
        column.scalars.array_data.element_type = _Type.Int64
        for row in present:
            column.scalars.array_data.data.add().long_data.data.extend(row)
    else:
        getattr(column.scalars, SCALAR_SLOTS[kind]).data.extend(present)
    return column


@st.composite
def rows(draw: st.DrawFn) -> dict[str, tuple[int, list[Any]]]:
    """Draw rows of a key and a column of every type, some with nulls."""
    count = draw(st.integers(1, 4))
    columns: dict[str, tuple[int, list[Any]]] = {"id": (_Type.Int64, list(range(count)))}
    for kind, values in VALUES.items():
        wanted = values if draw(st.booleans()) else st.one_of(st.none(), values)
        drawn = draw(st.lists(wanted, min_size=count, max_size=count))
        columns[f"field {kind}"] = (kind, drawn)
    return columns


def page(columns: dict[str, tuple[int, list[Any]]]) -> Page:
    """Make a page of columns."""
    made = page_of([column_of(name, *column) for name, column in columns.items()], "id")
    assert made is not None
    return made


@given(rows())
def test_rows_survive_a_table(columns: dict[str, tuple[int, list[Any]]]) -> None:
    """A file holds every value of every type, and which of them are null."""
    before = page(columns)
    assert (before.rows, before.last_key) == (len(columns["id"][1]), columns["id"][1][-1])
    table = pa.ipc.open_stream(_written(to_table(before))).read_all()
    after = to_page(table, "id")
    assert after is not None
    assert (after.rows, after.last_key) == (before.rows, before.last_key)
    for one, other in zip(before.columns, after.columns, strict=True):
        assert canonical_values(one, before.rows) == canonical_values(other, after.rows)
        assert one.type == other.type
    assert digest_of(after) == digest_of(before)


def _written(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@given(rows(), st.data())
def test_checksum_knows_no_order(
    columns: dict[str, tuple[int, list[Any]]], data: st.DataObject
) -> None:
    """Rows and columns in another order, or in two parts, have the same sum."""
    count = len(columns["id"][1])
    order = data.draw(st.permutations(range(count)))
    cut = data.draw(st.integers(0, count))
    names = data.draw(st.permutations(list(columns)))

    def part(places: list[int]) -> Digest:
        chosen = {name: (columns[name][0], [columns[name][1][i] for i in places]) for name in names}
        return digest_of(page(chosen)) if places else Digest()

    assert part(order[:cut]) + part(order[cut:]) == part(list(range(count)))


@given(rows(), st.data())
def test_checksum_sees_every_change(
    columns: dict[str, tuple[int, list[Any]]], data: st.DataObject
) -> None:
    """A single value that differs, or is null, changes the sum."""
    before = page(columns)
    name = data.draw(st.sampled_from([name for name in columns if name != "id"]))
    kind, values = columns[name]
    row = data.draw(st.integers(0, before.rows - 1))
    changed = [*values[:row], data.draw(st.one_of(st.none(), VALUES[kind])), *values[row + 1 :]]
    after = page({**columns, name: (kind, changed)})
    same = canonical_values(before.columns[list(columns).index(name)], before.rows) == (
        canonical_values(after.columns[list(columns).index(name)], after.rows)
    )
    assert (digest_of(after) == digest_of(before)) == same


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=5))
@example([None])
@example([None, 0])
def test_nulls_are_the_same_with_and_without_placeholders(values: list[int | None]) -> None:
    """Servers that put a value where a null is, and those that do not, are read alike."""
    bare = column_of("score", _Type.Int64, values)
    padded = schema_pb2.FieldData(type=_Type.Int64, field_name="score", field_id=7)
    padded.valid_data.extend(value is not None for value in values)
    padded.scalars.long_data.data.extend(value or 0 for value in values)
    assert canonical_values(compacted(padded, len(values)), len(values)) == canonical_values(
        compacted(bare, len(values)), len(values)
    )


def test_terms_and_keys_of_objects_may_stand_in_any_order() -> None:
    """What means the same has the same sum."""
    ways = []
    for order in (1, -1):
        weights = dict([(3, 0.5), (1, 0.25)][::order])
        document = json.dumps(dict([("a", 1), ("b", 2)][::order])).encode()
        columns = {
            "id": (_Type.Int64, [1]),
            "words": (_Type.SparseFloatVector, [sparse(weights)]),
            "facts": (_Type.JSON, [document]),
        }
        ways.append(digest_of(page(columns)))
    assert ways[0] == ways[1]
