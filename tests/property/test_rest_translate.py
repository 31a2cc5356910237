"""Rows and queries on their way between JSON and Milvus's messages."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from hypothesis import example, given
from hypothesis import strategies as st
from pymilvus.grpc_gen import common_pb2, schema_pb2

from milvane.gateway.rest_v2.columns import to_columns
from milvane.gateway.rest_v2.failures import Refusal
from milvane.gateway.rest_v2.rows import to_hits, to_rows
from milvane.gateway.rest_v2.searching import key_filter, to_placeholders
from milvane.gateway.rest_v2.values import read_sparse, write_sparse

DataType = schema_pb2.DataType
DIMENSION = 8

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
doubles = st.floats(allow_nan=False, allow_infinity=False)
largest = 2**63 - 1
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-largest - 1, largest) | doubles | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def sized(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Lists of exactly one vector's length."""
    return st.lists(values, min_size=DIMENSION, max_size=DIMENSION)


sparse = st.dictionaries(st.integers(0, 2**32 - 2).map(str), singles, max_size=5)
VALUES: dict[int, st.SearchStrategy[Any]] = {
    DataType.Bool: st.booleans(),
    DataType.Int8: st.integers(-128, 127),
    DataType.Int16: st.integers(-(2**15), 2**15 - 1),
    DataType.Int32: st.integers(-(2**31), 2**31 - 1),
    DataType.Int64: st.integers(-largest - 1, largest),
    DataType.Float: singles,
    DataType.Double: doubles,
    DataType.VarChar: texts,
    DataType.JSON: json_values.filter(lambda value: value is not None),
    DataType.Array: st.lists(st.integers(-largest - 1, largest), max_size=5),
    DataType.FloatVector: sized(singles),
    DataType.SparseFloatVector: sparse,
    DataType.Int8Vector: sized(st.integers(-128, 127)),
    DataType.BinaryVector: st.binary(min_size=1, max_size=1).map(
        lambda content: base64.b64encode(content).decode()
    ),
    DataType.Float16Vector: st.binary(min_size=2 * DIMENSION, max_size=2 * DIMENSION).map(
        lambda content: base64.b64encode(content).decode()
    ),
}
"""JSON values of each type that come back as they went in."""


def a_schema(*, nullable: bool) -> schema_pb2.CollectionSchema:
    """Describe a collection with a field of every type, and a dynamic one."""
    schema = schema_pb2.CollectionSchema(name="all", enable_dynamic_field=True)
    for data_type in VALUES:
        field = schema.fields.add(
            name=DataType.Name(data_type), data_type=data_type, nullable=nullable
        )
        field.type_params.add(key="dim", value=str(DIMENSION))
        if data_type == DataType.Array:
            field.element_type = DataType.Int64
    return schema


rows = st.fixed_dictionaries({DataType.Name(key): value for key, value in VALUES.items()})
extras = st.dictionaries(
    texts.filter(lambda name: name not in DataType.keys() and name != "$meta"),  # noqa: SIM118
    json_values,
    max_size=3,
)
rows_with_extras = st.builds(lambda row, extra: extra | row, rows, extras)
rows_with_nulls = st.builds(
    lambda row, absent, null: {
        key: None if key in null else value for key, value in row.items() if key not in absent
    },
    rows,
    st.sets(st.sampled_from([DataType.Name(key) for key in VALUES])),
    st.sets(st.sampled_from([DataType.Name(key) for key in VALUES])),
)


def in_single_precision(rows: list[dict]) -> list[dict]:
    """Round what is stored as a 32-bit float, so that equal numbers are written equally."""
    rounded = []
    for row in rows:
        single = dict(row)
        for name in ("Float", "FloatVector"):
            if row.get(name) is not None:
                single[name] = np.float32(row[name]).tolist()
        if row.get("SparseFloatVector") is not None:
            pairs = row["SparseFloatVector"].items()
            single["SparseFloatVector"] = {key: float(np.float32(value)) for key, value in pairs}
        rounded.append(single)
    return rounded


def refusal_of(attempt: Callable[[], object]) -> Refusal | None:
    """Try something; return why it was refused."""
    try:
        attempt()
    except Refusal as refusal:
        return refusal
    return None


def there_and_back(given_rows: list[dict], schema: schema_pb2.CollectionSchema) -> list[dict]:
    """Translate rows into columns, over the wire, and back."""
    columns = [
        schema_pb2.FieldData.FromString(column.SerializeToString())
        for column in to_columns(given_rows, schema, partial=False)
    ]
    found = to_rows(columns, asked_for=["*"], int64_as_text=False)
    written = orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)
    return in_single_precision(orjson.loads(written))


@given(st.lists(rows_with_extras, min_size=1, max_size=4))
def test_row_survives_both_translations(given_rows: list[dict]) -> None:
    """Values of every type, and dynamic ones, come out as the same JSON."""
    assert there_and_back(given_rows, a_schema(nullable=False)) == given_rows


@given(st.lists(rows_with_nulls, min_size=1, max_size=4))
def test_null_survives_both_translations(given_rows: list[dict]) -> None:
    """What is null or left out of a nullable field comes out as null, beside the right values."""
    schema = a_schema(nullable=True)
    names = [field.name for field in schema.fields]
    expected = [{name: row.get(name) for name in names} for row in given_rows]
    assert there_and_back(given_rows, schema) == expected


@given(rows, st.sampled_from([DataType.Name(key) for key in VALUES]))
def test_missing_value_is_never_guessed(row: dict, name: str) -> None:
    """A field that must have a value stops the request when one row misses it."""
    broken = {key: value for key, value in row.items() if key != name}
    schema = a_schema(nullable=False)
    for bad in (broken, broken | {name: None}):
        if name == "JSON" and bad is not broken:
            continue  # null is a JSON value
        refusal = refusal_of(lambda bad=bad: to_columns([row, bad], schema, partial=False))
        assert refusal is not None
        assert (refusal.code, "row 1" in refusal.message) == (1804, True)


@given(json_values, st.sampled_from(sorted(VALUES)))
@example(True, DataType.Int64)  # a boolean is no number
@example(2**63 - 1, DataType.Int32)
@example([True] * DIMENSION, DataType.FloatVector)
@example(1e39, DataType.Float)
@example({"indices": [1, 1], "values": [0.5, 0.5]}, DataType.SparseFloatVector)
@example({"indices": 1, "values": [0.5]}, DataType.SparseFloatVector)
@example({"4294967295": 1.0}, DataType.SparseFloatVector)
def test_any_value_is_taken_or_refused(value: object, data_type: int) -> None:
    """Whatever is sent for a type, the answer is a column that keeps it or a refusal."""
    name = DataType.Name(data_type)
    schema = schema_pb2.CollectionSchema(name="one")
    schema.fields.append(next(f for f in a_schema(nullable=True).fields if f.name == name))
    columns: list[schema_pb2.FieldData] = []
    refusal = refusal_of(lambda: columns.extend(to_columns([{name: value}], schema, partial=False)))
    if refusal is not None:
        assert refusal.code == 1804
    else:
        assert len(to_rows(columns, asked_for=[], int64_as_text=False)) == 1


@given(sparse)
def test_sparse_forms_are_one(vector: dict[str, float]) -> None:
    """Indices beside values say the same as a map of them, in any order."""
    backwards = dict(reversed(vector.items()))
    lists = {"indices": [int(key) for key in vector], "values": list(vector.values())}
    assert read_sparse(vector) == read_sparse(backwards) == read_sparse(lists)
    assert {key: float(value) for key, value in write_sparse(read_sparse(vector)).items()} == vector


@given(st.lists(texts, min_size=1, max_size=4))
def test_texts_are_texts_whatever_they_say(queries: list[str]) -> None:
    """Also a text that looks like base64 or numbers is embedded, not decoded."""
    field = schema_pb2.FieldSchema(name="dense", data_type=DataType.FloatVector)
    group = common_pb2.PlaceholderGroup.FromString(to_placeholders(queries, field))
    (placeholder,) = group.placeholders
    assert placeholder.type == common_pb2.PlaceholderType.VarChar
    assert [value.decode() for value in placeholder.values] == queries


@given(st.lists(sized(singles), min_size=1, max_size=4))
def test_vectors_are_vectors(queries: list[list[float]]) -> None:
    """Numbers keep their single-precision value."""
    field = schema_pb2.FieldSchema(name="dense", data_type=DataType.FloatVector)
    field.type_params.add(key="dim", value=str(DIMENSION))
    group = common_pb2.PlaceholderGroup.FromString(to_placeholders(queries, field))
    values = [np.frombuffer(value, dtype="<f4").tolist() for value in group.placeholders[0].values]
    assert group.placeholders[0].type == common_pb2.PlaceholderType.FloatVector
    assert values == queries


@given(st.lists(texts, min_size=1, max_size=4))
@example(['"] or 1 == 1 or id in ["'])
@example(["\\"])
def test_key_is_never_read_as_a_filter(keys: list[str]) -> None:
    """What a client sends as a key stays one text between quotes."""
    field = schema_pb2.FieldSchema(name="id", data_type=DataType.VarChar)
    written = key_filter(field, keys)
    assert written.startswith("id in [")
    assert orjson.loads(written.removeprefix("id in ")) == keys


@given(
    st.lists(st.tuples(st.integers(-largest - 1, largest), singles, texts), max_size=5),
    st.booleans(),
)
def test_hits_keep_their_order_and_keys(hits: list[tuple[int, float, str]], as_text: bool) -> None:
    """Each key stands beside its score and its fields, as a number or as text."""
    found = schema_pb2.SearchResultData(scores=[score for _, score, _ in hits])
    found.ids.int_id.data.extend(key for key, _, _ in hits)
    column = found.fields_data.add(field_name="note", type=DataType.VarChar)
    column.scalars.string_data.data.extend(note for _, _, note in hits)
    rows = to_hits(found, asked_for=["note"], int64_as_text=as_text)
    assert [(row["id"], float(row["distance"]), row["note"]) for row in rows] == [
        (str(key) if as_text else key, score, note) for key, score, note in hits
    ]
