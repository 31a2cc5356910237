"""Embedding functions in a collection's schema."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.domain.errors import InvalidInput
from milvane.gateway.translate.functions import PROPERTY_KEY, find_record
from milvane.gateway.translate.schemas import (
    has_embedding_functions,
    read_functions,
    refuse_reserved_property,
    restore_functions,
    strip_functions,
)

Change = Callable[[schema_pb2.CollectionSchema], None]
TYPES = schema_pb2.DataType


def a_schema(**params: str) -> schema_pb2.CollectionSchema:
    """Build a schema with one embedding function; `params` replace its parameters."""
    schema = schema_pb2.CollectionSchema(name="articles", description="what we wrote")
    schema.fields.add(name="id", data_type=TYPES.Int64, is_primary_key=True)
    text = schema.fields.add(name="document", data_type=TYPES.VarChar, description="the text")
    text.type_params.add(key="max_length", value="9000")
    vector = schema.fields.add(name="dense", data_type=TYPES.FloatVector)
    vector.type_params.add(key="dim", value="1024")
    function = schema.functions.add(
        name="embed",
        description="text to vector",
        type=schema_pb2.FunctionType.TextEmbedding,
        input_field_names=["document"],
        output_field_names=["dense"],
    )
    given = params or {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
    for key, value in given.items():
        function.params.add(key=key, value=value)
    return schema


def test_read_functions_finds_model_and_dimension() -> None:
    """A function without `dim` gets the model's default dimension."""
    (function,) = read_functions(a_schema())
    assert (function.name, function.id) == ("embed", 100)
    assert (function.input_field, function.output_field) == ("document", "dense")
    assert (function.model, function.dimension) == ("text-embedding-v4", 1024)


def test_read_functions_is_lenient_about_case() -> None:
    """Parameter names and the provider's name may be written in any case, as in Milvus."""
    (function,) = read_functions(
        a_schema(Provider="Aliyun_Milvus", MODEL_NAME="text-embedding-v3", Dim="1024")
    )
    assert function.model == "text-embedding-v3"


def _rename(name: str) -> Change:
    def change(schema: schema_pb2.CollectionSchema) -> None:
        schema.functions[0].name = name

    return change


def _inputs(*names: str) -> Change:
    def change(schema: schema_pb2.CollectionSchema) -> None:
        del schema.functions[0].input_field_names[:]
        schema.functions[0].input_field_names.extend(names)

    return change


def _outputs(*names: str) -> Change:
    def change(schema: schema_pb2.CollectionSchema) -> None:
        del schema.functions[0].output_field_names[:]
        schema.functions[0].output_field_names.extend(names)

    return change


def _field(index: int, **values: object) -> Change:
    def change(schema: schema_pb2.CollectionSchema) -> None:
        for key, value in values.items():
            setattr(schema.fields[index], key, value)

    return change


def _twice(schema: schema_pb2.CollectionSchema) -> None:
    schema.functions.append(schema.functions[0])


def _same_output(schema: schema_pb2.CollectionSchema) -> None:
    schema.functions.append(schema.functions[0])
    schema.functions[1].name = "again"


def _no_params(schema: schema_pb2.CollectionSchema) -> None:
    del schema.functions[0].params[:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename(""), "function name cannot be empty"),
        (_inputs(), "function input field names cannot be empty, function: embed"),
        (_outputs(), "function output field names cannot be empty, function: embed"),
        (_inputs(""), "function input field name cannot be empty string, function: embed"),
        (_outputs(""), "function output field name cannot be empty string, function: embed"),
        (_inputs("document", "document"), "each function input field should be used exactly once"),
        (_outputs("dense", "dense"), "each function output field should be used exactly once"),
        (_outputs("document"), "a single field cannot be both input and output"),
        (_no_params, "TextEmbedding function accepts no params"),
        (_twice, "duplicate function name: embed"),
        (_inputs("absent"), "function input field not found: absent"),
        (_inputs("id"), "TextEmbedding function input field must be a VARCHAR/TEXT field"),
        (_field(1, nullable=True), "function input field cannot be nullable: function embed"),
        (_outputs("absent"), "function output field not found: absent"),
        (_outputs("id"), "function output field cannot be primary key: function embed, field id"),
        (_field(2, is_partition_key=True), "cannot be partition key or clustering key"),
        (_field(2, nullable=True), "function output field cannot be nullable"),
        (_same_output, "duplicate function output field: function again, field dense"),
        (_field(2, data_type=TYPES.BinaryVector), "must be a FloatVector or Int8Vector"),
        (_field(2, data_type=TYPES.SparseFloatVector), '; add the function parameter "output_type'),
        (_field(2, data_type=TYPES.Int8Vector), "embedding model output and field type mismatch"),
    ],
)
def test_read_functions_refuses_as_milvus_does(change: Change, message: str) -> None:
    """Each rule of Milvus has its own message."""
    schema = a_schema()
    change(schema)
    with pytest.raises(InvalidInput) as caught:
        read_functions(schema)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model_name": "x"}, "service provider parameter:[provider] was not found"),
        ({"provider": "tea"}, "unsupported text embedding service provider: [tea]"),
        ({"provider": "aliyun_milvus"}, "parameter:[model_name] was not found"),
        ({"provider": "aliyun_milvus", "model_name": "x"}, "unsupported embedding model: [x]"),
        (
            {"provider": "aliyun_milvus", "model_name": "text-embedding-v4", "dim": "many"},
            "dimension [many] provided in Function params is not a valid int",
        ),
        (
            {"provider": "aliyun_milvus", "model_name": "text-embedding-v4", "dim": "512"},
            "Function output field:[dense]'s dimension [1024] does not match the dimension [512] "
            "provided in Function params.",
        ),
        (
            {"provider": "aliyun_milvus", "model_name": "text-embedding-v2"},
            "the required embedding dim is [1024], but the embedding obtained from the model is "
            "[1536]",
        ),
        (
            {"provider": "aliyun_milvus", "model_name": "text-embedding-v2", "dim": "1024"},
            "model text-embedding-v2 does not offer dimension [1024]",
        ),
    ],
)
def test_read_functions_names_the_function_that_is_wrong(
    params: dict[str, str], message: str
) -> None:
    """What is wrong with a model or dimension is wrapped with the function's name."""
    with pytest.raises(InvalidInput) as caught:
        read_functions(a_schema(**params))
    assert caught.value.message.startswith(
        "check function [embed:TextEmbedding] failed, the err is: "
    )
    assert message in caught.value.message


def _creation(schema: schema_pb2.CollectionSchema) -> milvus_pb2.CreateCollectionRequest:
    return milvus_pb2.CreateCollectionRequest(
        collection_name="articles", schema=schema.SerializeToString(), shards_num=3
    )


def _described(
    rewritten: milvus_pb2.CreateCollectionRequest,
) -> milvus_pb2.DescribeCollectionResponse:
    """Describe a collection as Milvus Lite does: no descriptions, ids or timestamps."""
    schema = schema_pb2.CollectionSchema.FromString(rewritten.schema)
    schema.description = ""
    for field in schema.fields:
        field.description = ""
    return milvus_pb2.DescribeCollectionResponse(schema=schema, properties=rewritten.properties)


def test_functions_survive_the_way_through_the_upstream() -> None:
    """What a client describes is what it created, with ids and the revision."""
    schema = a_schema()
    rewritten = strip_functions(_creation(schema), schema, read_functions(schema), revision=77)
    stored = schema_pb2.CollectionSchema.FromString(rewritten.schema)
    assert not has_embedding_functions(stored)
    assert rewritten.shards_num == 3
    description = _described(rewritten)
    assert restore_functions(description) is not None
    (function,) = description.schema.functions
    expected = schema.functions[0]
    assert (function.name, function.description) == (expected.name, expected.description)
    assert list(function.params) == list(expected.params)
    assert (function.id, list(function.input_field_ids)) == (100, [101])
    assert list(function.output_field_ids) == [102]
    assert [field.is_function_output for field in description.schema.fields] == [0, 0, 1]
    assert description.schema.description == "what we wrote"
    assert description.schema.fields[1].description == "the text"
    assert description.update_timestamp == 77
    assert not description.properties


def test_functions_of_the_upstream_keep_their_place() -> None:
    """A BM25 function stays with the upstream, and the order of the schema is restored."""
    schema = a_schema()
    schema.fields.add(name="sparse", data_type=TYPES.SparseFloatVector, is_function_output=True)
    bm25 = schema_pb2.FunctionSchema(
        name="bm25",
        type=schema_pb2.FunctionType.BM25,
        input_field_names=["document"],
        output_field_names=["sparse"],
    )
    schema.functions.insert(0, bm25)
    rewritten = strip_functions(_creation(schema), schema, read_functions(schema), revision=1)
    stored = schema_pb2.CollectionSchema.FromString(rewritten.schema)
    assert [function.name for function in stored.functions] == ["bm25"]
    description = _described(rewritten)
    restore_functions(description)
    named = [(function.name, function.id) for function in description.schema.functions]
    assert named == [("bm25", 100), ("embed", 101)]
    assert list(description.schema.functions[0].output_field_ids) == [103]


def test_description_without_functions_is_left_alone() -> None:
    """A collection that the gateway knows nothing of is described as the upstream describes it."""
    description = milvus_pb2.DescribeCollectionResponse(
        properties=[common_pb2.KeyValuePair(key="ttl", value="5")]
    )
    before = description.SerializeToString()
    assert restore_functions(description) is None
    assert description.SerializeToString() == before
    assert find_record(description.properties) is None


def test_reserved_property_is_refused() -> None:
    """Clients cannot write the property that holds the functions."""
    refuse_reserved_property(["ttl"])
    with pytest.raises(InvalidInput, match="is reserved"):
        refuse_reserved_property(["ttl", PROPERTY_KEY])
