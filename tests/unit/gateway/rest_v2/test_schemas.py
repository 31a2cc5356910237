"""Schemas and indexes between JSON and Milvus's messages."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.gateway.rest_v2.failures import Refusal
from milvane.gateway.rest_v2.schemas import (
    as_text,
    indexes_of,
    to_creation,
    to_index,
    vector_field,
    write_collection,
)
from milvane.gateway.rest_v2.wire import Creation, IndexWire

DataType = schema_pb2.DataType
FIELDS: list[dict[str, Any]] = [
    {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
    {
        "fieldName": "tags",
        "dataType": "Array",
        "elementDataType": "VarChar",
        "elementTypeParams": {"max_capacity": 5, "max_length": "10"},
        "nullable": True,
    },
    {"fieldName": "rank", "dataType": "Int32", "defaultValue": 7, "isPartitionKey": True},
    {"fieldName": "dense", "dataType": "FloatVector", "elementTypeParams": {"dim": 4}},
]
EMBED = {
    "name": "embed",
    "type": "TextEmbedding",
    "inputFieldNames": ["text"],
    "outputFieldNames": ["dense"],
    "params": {"provider": "aliyun_milvus", "dim": 4},
}


def creation(**body: object) -> Creation:
    """Read a body."""
    return Creation.model_validate({"collectionName": "c", **body})


def schema_of(body: Creation) -> schema_pb2.CollectionSchema:
    """Read the schema that is created."""
    return schema_pb2.CollectionSchema.FromString(to_creation(body, "default").schema)


def test_schema_is_read_whole() -> None:
    """Fields, their parameters, defaults and elements, and functions."""
    body = creation(schema={"fields": FIELDS, "functions": [EMBED], "autoID": True})
    schema = schema_of(body)
    key, tags, rank, dense = schema.fields
    assert (key.is_primary_key, key.autoID, rank.autoID) == (True, True, False)
    assert (tags.element_type, tags.nullable) == (DataType.VarChar, True)
    assert {pair.key: pair.value for pair in tags.type_params} == {
        "max_capacity": "5",
        "max_length": "10",
    }
    assert (rank.default_value.int_data, rank.is_partition_key) == (7, True)
    assert dense.is_function_output
    (function,) = schema.functions
    assert function.type == schema_pb2.FunctionType.TextEmbedding
    assert {pair.key: pair.value for pair in function.params} == {
        "provider": "aliyun_milvus",
        "dim": "4",
    }


def test_dimension_alone_makes_a_collection() -> None:
    """With Milvus's names and types, or those that are given."""
    key, vector = schema_of(creation(dimension=8)).fields
    assert (key.name, key.data_type, key.autoID) == ("id", DataType.Int64, False)
    assert (vector.name, vector.type_params[0].value) == ("vector", "8")
    named = creation(
        dimension=8,
        idType="VarChar",
        primaryFieldName="key",
        vectorFieldName="v",
        autoID=True,
        params={"max_length": 10, "enableDynamicField": False},
    )
    schema = schema_of(named)
    assert [field.name for field in schema.fields] == ["key", "v"]
    assert (schema.fields[0].data_type, schema.fields[0].autoID) == (DataType.VarChar, True)
    assert schema.fields[0].type_params[0].value == "10"
    assert not schema.enable_dynamic_field
    (index,) = indexes_of(named)
    assert (index.field_name, index.metric_type) == ("v", "COSINE")


def test_settings_of_a_collection_are_read() -> None:
    """Shards, partitions, consistency and properties stand where Milvus has them."""
    request = to_creation(
        creation(
            dimension=8,
            params={
                "shardsNum": 3,
                "partitionsNum": "16",
                "consistencyLevel": "Strong",
                "ttlSeconds": 5,
            },
            properties={"a": True},
        ),
        "second",
    )
    assert (request.db_name, request.shards_num, request.num_partitions) == ("second", 3, 16)
    assert request.consistency_level == common_pb2.ConsistencyLevel.Strong
    assert {pair.key: pair.value for pair in request.properties} == {
        "a": "true",
        "collection.ttl.seconds": "5",
    }


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({}, 1100, "dimension is required"),
        ({"dimension": 4, "idType": "Float"}, 1100, "idType can only be"),
        ({"dimension": 4, "schema": {"functions": [EMBED]}}, 1100, "functions are not supported"),
        ({"dimension": 4, "consistencyLevel": "strong"}, 1100, "consistencyLevel can only be"),
        ({"dimension": 4, "params": {"shardsNum": "x"}}, 1100, "shardsNum has to be a number"),
        (
            {"schema": {"fields": [{"fieldName": "a", "dataType": "int64"}]}},
            1100,
            "data type int64 is invalid(case sensitive)",
        ),
        (
            {"schema": {"fields": [{"fieldName": "a", "dataType": "Int8", "defaultValue": 300}]}},
            1100,
            "convert defaultValue fail",
        ),
        (
            {"schema": {"fields": FIELDS, "functions": [EMBED | {"type": "textembedding"}]}},
            1100,
            "Unsupported function type: textembedding",
        ),
        ({"schema": {"fields": FIELDS, "structFields": [{}]}}, 1100, "arrays of structs"),
    ],
)
def test_schema_that_cannot_be_is_refused(body: dict[str, object], code: int, message: str) -> None:
    """With Milvus's code and words."""
    with pytest.raises(Refusal) as caught:
        to_creation(creation(**body), "default")
    assert caught.value.code == code
    assert message in caught.value.message


def test_index_of_no_field_is_refused() -> None:
    """Before anything is created."""
    body = creation(schema={"fields": FIELDS}, indexParams=[{"fieldName": "absent"}])
    with pytest.raises(Refusal, match="`absent` hasn't defined in schema"):
        indexes_of(body)


def test_index_is_read_with_its_parameters() -> None:
    """They go on together, as clients send them; without a type the upstream chooses."""
    wire = IndexWire.model_validate(
        {
            "fieldName": "dense",
            "indexName": "i",
            "metricType": "L2",
            "params": {"index_type": "HNSW", "M": 8},
        }
    )
    request = to_index(wire, "c", "default")
    assert {pair.key: pair.value for pair in request.extra_params} == {
        "index_type": "HNSW",
        "metric_type": "L2",
        "params": '{"M":8}',
    }
    plain = to_index(IndexWire.model_validate({"fieldName": "dense"}), "c", "default")
    assert [(pair.key, pair.value) for pair in plain.extra_params] == [("index_type", "AUTOINDEX")]


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), (5, "5"), (True, "true"), ({"a": [1]}, '{"a":[1]}')]
)
def test_setting_is_kept_as_text(value: object, text: str) -> None:
    """As Milvus keeps it."""
    assert as_text(value) == text


def test_search_needs_one_clear_field() -> None:
    """The only vector field is taken unnamed; of several, one has to be named."""
    schema = schema_of(creation(schema={"fields": FIELDS}))
    assert vector_field(schema, "").name == "dense"
    with pytest.raises(Refusal, match="cannot find a vector field named: tags"):
        vector_field(schema, "tags")
    schema.fields.add(name="other", data_type=DataType.SparseFloatVector)
    assert vector_field(schema, "other").name == "other"
    with pytest.raises(Refusal, match=r"multiple vector fields: \[dense, other\]"):
        vector_field(schema, "")


def test_description_leaves_out_what_is_internal() -> None:
    """The dynamic field has no entry of its own; a default is written as its value."""
    schema = schema_of(creation(schema={"fields": FIELDS, "functions": [EMBED]}))
    schema.fields.add(name="$meta", data_type=DataType.JSON, is_dynamic=True)
    written = write_collection(milvus_pb2.DescribeCollectionResponse(schema=schema))
    fields = {field["name"]: field for field in written["fields"]}
    assert list(fields) == ["id", "tags", "rank", "dense"]
    assert fields["rank"]["defaultValue"] == 7
    assert fields["tags"]["elementType"] == "VarChar"
    assert written["functions"][0]["type"] == 2
