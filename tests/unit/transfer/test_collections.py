from __future__ import annotations

import json

import pytest
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.domain.errors import InvalidInput
from milvane.gateway.translate.functions import PROPERTY_KEY
from milvane.gateway.translate.rows import ALLOW_OUTPUTS_KEY
from milvane.instances.lite.journal import CollectionKey
from milvane.transfer.collections import (
    Collection,
    Index,
    buildable_params,
    closings_of,
    creation_of,
    from_document,
    read_description,
    to_document,
)

KEY = CollectionKey("default", "articles")


def description() -> milvus_pb2.DescribeCollectionResponse:
    """Describe a collection with a function, as Milvane does."""
    response = milvus_pb2.DescribeCollectionResponse(shards_num=1, num_partitions=2)
    schema = response.schema
    schema.description, schema.enable_dynamic_field = "on paper", True
    kinds = schema_pb2.DataType
    schema.fields.add(name="RowID", data_type=kinds.Int64, fieldID=1)
    schema.fields.add(name="id", data_type=kinds.Int64, is_primary_key=True, fieldID=100)
    schema.fields.add(name="document", data_type=kinds.VarChar, fieldID=101)
    dense = schema.fields.add(
        name="dense", data_type=kinds.FloatVector, fieldID=102, is_function_output=True
    )
    dense.type_params.add(key="dim", value="1024")
    schema.fields.add(name="words", data_type=kinds.SparseFloatVector, fieldID=103)
    embed = schema.functions.add(
        name="embed",
        id=100,
        type=schema_pb2.FunctionType.TextEmbedding,
        input_field_names=["document"],
        output_field_names=["dense"],
        output_field_ids=[102],
    )
    embed.params.add(key="provider", value="aliyun_milvus")
    embed.params.add(key="model_name", value="text-embedding-v4")
    schema.functions.add(
        name="count",
        type=schema_pb2.FunctionType.BM25,
        input_field_names=["document"],
        output_field_names=["words"],
    )
    response.properties.add(key="collection.ttl.seconds", value="9")
    return response


def read(response: milvus_pb2.DescribeCollectionResponse, *, is_milvane: bool) -> Collection:
    """Read a description with an index and an alias."""
    return read_description(
        KEY,
        response,
        is_milvane=is_milvane,
        partitions=("_default", "other"),
        indexes=(Index("dense", "dense", (("index_type", "HNSW"),)),),
        aliases=("now",),
        is_loaded=True,
    )


def test_generated_terms_do_not_travel() -> None:
    """What BM25 makes is made again; what a model made is kept."""
    found = read(description(), is_milvane=True)
    assert found.readable_fields == ["id", "document", "dense", "$meta"]


def test_collection_for_milvane_keeps_its_functions() -> None:
    """The schema is as a client sends it, open for vectors that are brought along."""
    found = read(description(), is_milvane=True)
    request = creation_of(found, is_milvane=True, revision=1)
    schema = schema_pb2.CollectionSchema.FromString(request.schema)
    assert [each.name for each in schema.functions] == ["embed", "count"]
    assert all(not field.fieldID and not field.is_function_output for field in schema.fields)
    properties = {pair.key: pair.value for pair in request.properties}
    assert properties == {"collection.ttl.seconds": "9", ALLOW_OUTPUTS_KEY: "true"}


def test_collection_for_milvus_alone_hides_functions_for_milvane_to_find() -> None:
    """A Milvus by itself gets an ordinary collection, and finding it again changes nothing."""
    found = read(description(), is_milvane=True)
    request = creation_of(found, is_milvane=False, revision=7)
    schema = schema_pb2.CollectionSchema.FromString(request.schema)
    assert [each.name for each in schema.functions] == ["count"]
    response = milvus_pb2.DescribeCollectionResponse(
        schema=schema, shards_num=1, num_partitions=2, properties=request.properties
    )
    record = json.loads({pair.key: pair.value for pair in request.properties}[PROPERTY_KEY])
    assert record["functions"][0]["model"] == "text-embedding-v4"
    again = read(response, is_milvane=False)
    assert again.has_hidden_functions
    assert [each.name for each in again.schema.functions] == ["embed", "count"]
    assert again.schema.description == "on paper"


@pytest.mark.parametrize(
    ("value", "set_to", "deleted"),
    [(None, {}, [ALLOW_OUTPUTS_KEY]), ("false", {ALLOW_OUTPUTS_KEY: "false"}, [])],
)
def test_openness_ends_with_the_copy(
    value: str | None, set_to: dict[str, str], deleted: list[str]
) -> None:
    """Whether clients may bring vectors is in the end what it was at the source."""
    response = description()
    if value:
        response.properties.add(key=ALLOW_OUTPUTS_KEY, value=value)
    (closing,) = closings_of(read(response, is_milvane=True))
    assert {pair.key: pair.value for pair in closing.properties} == set_to
    assert list(closing.delete_keys) == deleted


def test_collection_without_functions_needs_no_opening() -> None:
    """Nothing is changed where nothing has to be, or where it was open before."""
    response = description()
    response.properties.add(key=ALLOW_OUTPUTS_KEY, value="true")
    assert closings_of(read(response, is_milvane=True)) == []
    del response.schema.functions[:]
    assert closings_of(read(response, is_milvane=True)) == []


def test_document_tells_everything() -> None:
    """What is exported is what is imported."""
    found = read(description(), is_milvane=True)
    assert from_document(json.loads(json.dumps(to_document(found)))) == found


@pytest.mark.parametrize("document", [{}, {"format": 9}, {"format": 1, "schema": 3}])
def test_damaged_document_is_refused(document: dict[str, object]) -> None:
    """A folder that was edited is no reason to crash."""
    with pytest.raises(InvalidInput):
        from_document(document)


def test_index_parameters_are_written_as_every_server_reads_them() -> None:
    """Parameters that Milvus tells one by one go into the one value that Milvus Lite reads."""
    told = Index("v", "v", (("M", "8"), ("metric_type", "L2"), ("drop_ratio_build", "0.2")))
    assert buildable_params(told) == [
        ("metric_type", "L2"),
        ("params", '{"M": 8, "drop_ratio_build": 0.2}'),
    ]
    for index in (Index("v", "v", (("params", "{}"),)), Index("v", "v", (("index_type", "FLAT"),))):
        assert buildable_params(index) == list(index.params)


def test_page_holds_at_least_one_row() -> None:
    """However large rows are, something moves."""
    found = read(description(), is_milvane=True)
    assert found.rows_within(1) == 1
    assert 500 < found.rows_within(4 << 20) < 1_000
