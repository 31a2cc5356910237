"""Rows of a write: what is refused before anything is embedded, and what goes on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.domain.errors import InvalidInput
from milvane.gateway.translate.functions import EmbeddingFunction
from milvane.gateway.translate.rows import append_columns, plan_embedding
from milvane.gateway.translate.vectors import vector_column

TYPES = schema_pb2.DataType
EMBED = EmbeddingFunction(
    position=0,
    name="embed",
    description="",
    input_field="document",
    output_field="dense",
    params=(("provider", "aliyun_milvus"),),
    model="text-embedding-v4",
    dimension=4,
)


def a_schema() -> schema_pb2.CollectionSchema:
    """Build a schema with a text, its vector, a client's own vector and a nullable note."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="id", data_type=TYPES.Int64, is_primary_key=True)
    text = schema.fields.add(name="document", data_type=TYPES.VarChar)
    text.type_params.add(key="max_length", value="20")
    dense = schema.fields.add(name="dense", data_type=TYPES.FloatVector, is_function_output=True)
    dense.type_params.add(key="dim", value="4")
    plain = schema.fields.add(name="plain", data_type=TYPES.FloatVector)
    plain.type_params.add(key="dim", value="2")
    schema.fields.add(name="note", data_type=TYPES.VarChar, nullable=True)
    return schema


def a_write(
    kind: type = milvus_pb2.InsertRequest, **values: object
) -> milvus_pb2.InsertRequest | milvus_pb2.UpsertRequest:
    """Build a good write of two rows."""
    request = kind(collection_name="articles", num_rows=2, **values)
    ids = request.fields_data.add(type=TYPES.Int64, field_name="id")
    ids.scalars.long_data.data.extend([1, 2])
    texts = request.fields_data.add(type=TYPES.VarChar, field_name="document")
    texts.scalars.string_data.data.extend(["one", "two"])
    plain = request.fields_data.add(type=TYPES.FloatVector, field_name="plain")
    plain.vectors.dim = 2
    plain.vectors.float_vector.data.extend([1.0, 2.0, 3.0, 4.0])
    return request


def a_plan(request: object, *, allow_outputs: bool = False) -> list[list[str]]:
    """Plan a write; return the texts of each function that has to run."""
    plan = plan_embedding(request, a_schema(), [EMBED], allow_outputs=allow_outputs)
    return [list(column.texts) for column in plan]


def test_insert_embeds_the_input_field() -> None:
    """One text for each row, in order."""
    assert a_plan(a_write()) == [["one", "two"]]


def _without(name: str) -> Callable[[milvus_pb2.InsertRequest], None]:
    def change(request: milvus_pb2.InsertRequest) -> None:
        kept = [column for column in request.fields_data if column.field_name != name]
        del request.fields_data[:]
        request.fields_data.extend(kept)

    return change


def _texts(*texts: str) -> Callable[[milvus_pb2.InsertRequest], None]:
    def change(request: milvus_pb2.InsertRequest) -> None:
        del request.fields_data[1].scalars.string_data.data[:]
        request.fields_data[1].scalars.string_data.data.extend(texts)

    return change


def _plain(dimension: int, *values: float) -> Callable[[milvus_pb2.InsertRequest], None]:
    def change(request: milvus_pb2.InsertRequest) -> None:
        vectors = request.fields_data[2].vectors
        vectors.dim = dimension
        del vectors.float_vector.data[:]
        vectors.float_vector.data.extend(values)

    return change


def _with_output(request: milvus_pb2.InsertRequest) -> None:
    column = request.fields_data.add(type=TYPES.FloatVector, field_name="dense")
    column.vectors.dim = 4
    column.vectors.float_vector.data.extend([0.0] * 8)


def _twice(request: milvus_pb2.InsertRequest) -> None:
    request.fields_data.append(request.fields_data[0])


def _stranger(request: milvus_pb2.InsertRequest) -> None:
    request.fields_data.add(type=TYPES.Int64, field_name="stranger")


def _wrong_type(request: milvus_pb2.InsertRequest) -> None:
    request.fields_data[0].type = TYPES.VarChar


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("document"), "input field not found: function embed, field document"),
        (_without("plain"), "fieldSchema(plain) has no corresponding fieldData pass in"),
        (_without("id"), "fieldSchema(id) has no corresponding fieldData pass in"),
        (_texts("one", ""), "does not support empty text: function embed, field document, row 1"),
        (_texts("one"), "the num_rows(1) of document is not equal to passed num_rows(2)"),
        (
            _texts("one", "twenty-one bytes long"),
            "length of varchar field document exceeds max length, row number: 1, length: 21, "
            "max length: 20",
        ),
        (_texts("one", "七个汉字要二十一"), "length: 24, max length: 20"),
        (_plain(3, 1, 2, 3), "the dim (3) of field data(plain) is not equal to schema dim (2)"),
        (_plain(2, 1, 2), "the num_rows(1) of plain is not equal to passed num_rows(2)"),
        (_plain(2, 1, 2, 3, float("nan")), "infinity: field plain, row number: 1"),
        (_plain(2, 1, float("inf"), 3, 4), "infinity: field plain, row number: 0"),
        (_with_output, "Insert data has function output field, but collection's property "),
        (_twice, "duplicated field name id"),
        (_stranger, "field stranger does not exist in collection articles"),
        (_wrong_type, "the data type of field id does not match"),
    ],
)
def test_bad_rows_are_refused(
    change: Callable[[milvus_pb2.InsertRequest], None], message: str
) -> None:
    """A refusal names what is wrong, with the field and row where there is one."""
    request = a_write()
    change(request)
    with pytest.raises(InvalidInput) as caught:
        a_plan(request)
    assert message in caught.value.message


def test_output_may_be_brought_where_the_collection_allows_it() -> None:
    """With the collection's property set, brought vectors are kept and nothing is embedded."""
    request = a_write()
    _with_output(request)
    assert a_plan(request, allow_outputs=True) == []


def test_dynamic_columns_are_not_the_schemas() -> None:
    """A dynamic column has no field to be checked against."""
    request = a_write()
    request.fields_data.add(type=TYPES.JSON, field_name="$meta", is_dynamic=True)
    assert a_plan(request) == [["one", "two"]]


def test_partial_update_without_the_text_embeds_nothing() -> None:
    """The old vector stays if the text is not in the request."""
    request = a_write(milvus_pb2.UpsertRequest, partial_update=True)
    _without("document")(request)
    _without("plain")(request)
    assert a_plan(request) == []


def test_partial_update_with_the_text_embeds_it() -> None:
    """The vector follows its text."""
    request = a_write(milvus_pb2.UpsertRequest, partial_update=True)
    _without("plain")(request)
    assert a_plan(request) == [["one", "two"]]


def test_full_upsert_needs_the_text() -> None:
    """Without the partial flag an upsert is a whole row."""
    request = a_write(milvus_pb2.UpsertRequest)
    _without("document")(request)
    with pytest.raises(InvalidInput, match="input field not found"):
        a_plan(request)


def test_nulls_may_be_left_out_of_a_column() -> None:
    """A nullable column holds one value for each valid row."""
    request = a_write()
    note = request.fields_data.add(type=TYPES.VarChar, field_name="note", valid_data=[True, False])
    note.scalars.string_data.data.append("only one")
    assert a_plan(request) == [["one", "two"]]


def test_appended_column_arrives_with_its_values() -> None:
    """The vectors reach the upstream bit by bit, and nothing else of the request is touched."""
    request = a_write()
    vectors = np.arange(8, dtype=np.float32).reshape(2, 4) / 3
    column = vector_column(a_schema().fields[2], vectors)
    sent = append_columns(request.SerializeToString(), [column])
    assert sent.startswith(request.SerializeToString())
    arrived = milvus_pb2.InsertRequest.FromString(sent)
    assert [c.field_name for c in arrived.fields_data] == ["id", "document", "plain", "dense"]
    data = arrived.fields_data[3].vectors
    assert data.dim == 4
    np.testing.assert_array_equal(
        np.asarray(data.float_vector.data, np.float32), vectors.ravel(), strict=True
    )
