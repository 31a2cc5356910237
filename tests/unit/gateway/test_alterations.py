"""Embedding functions of collections that exist: added, altered, dropped."""

from __future__ import annotations

import pytest
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.domain.errors import InvalidInput
from milvane.gateway.translate.alterations import add_function, alter_function, drop_function
from milvane.gateway.translate.functions import FunctionRecord
from milvane.gateway.translate.schemas import read_functions, restore_functions, strip_functions

TYPES = schema_pb2.DataType
KINDS = schema_pb2.FunctionType


def a_function(
    name: str = "embed", output: str = "dense", model: str = "text-embedding-v4"
) -> schema_pb2.FunctionSchema:
    """Build a function that fills a vector field from `document`."""
    function = schema_pb2.FunctionSchema(
        name=name,
        type=KINDS.TextEmbedding,
        input_field_names=["document"],
        output_field_names=[output],
    )
    function.params.add(key="provider", value="aliyun_milvus")
    function.params.add(key="model_name", value=model)
    return function


def described(
    *functions: schema_pb2.FunctionSchema,
) -> tuple[schema_pb2.CollectionSchema, FunctionRecord | None]:
    """Describe a collection with these functions, as clients see it."""
    schema = schema_pb2.CollectionSchema(name="articles", functions=functions)
    text = schema.fields.add(name="document", data_type=TYPES.VarChar)
    text.type_params.add(key="max_length", value="100")
    for name in ("dense", "other"):
        vector = schema.fields.add(name=name, data_type=TYPES.FloatVector)
        vector.type_params.add(key="dim", value="1024")
    schema.fields.add(name="sparse", data_type=TYPES.SparseFloatVector)
    creation = milvus_pb2.CreateCollectionRequest(schema=schema.SerializeToString())
    embedding = read_functions(schema)
    if embedding:
        creation = strip_functions(creation, schema, embedding, revision=1)
    response = milvus_pb2.DescribeCollectionResponse(properties=creation.properties)
    response.schema.ParseFromString(creation.schema)
    record = restore_functions(response)
    return response.schema, record


BM25 = schema_pb2.FunctionSchema(
    name="bm25", type=KINDS.BM25, input_field_names=["document"], output_field_names=["sparse"]
)


def test_first_function_may_be_added() -> None:
    """A collection that had none gets its first, with the first id."""
    schema, record = described()
    after = add_function(record, schema, a_function(), revision=2)
    assert after.revision == 2
    assert [(f.name, f.id) for f in after.functions] == [("embed", 100)]


def test_added_function_gets_the_next_id() -> None:
    """Ids go on from the highest, whoever runs that function."""
    schema, record = described(a_function(), BM25)
    after = add_function(record, schema, a_function("second", "other"), revision=2)
    assert [(f.name, f.id) for f in after.functions] == [("embed", 100), ("second", 102)]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (BM25, "currently does not support adding BM25 function"),
        (a_function("embed", "other"), "function name already exists: embed"),
        (a_function("second"), "function's output field dense is already of other functions"),
        (a_function("second", "absent"), "function output field not found: absent"),
        (a_function("second", "other", "nothing"), "unsupported embedding model: [nothing]"),
    ],
)
def test_bad_addition_is_refused(function: schema_pb2.FunctionSchema, message: str) -> None:
    """Each rule has Milvus's own message."""
    schema, record = described(a_function())
    with pytest.raises(InvalidInput) as caught:
        add_function(record, schema, function, revision=2)
    assert message in caught.value.message


def test_altered_function_keeps_its_place() -> None:
    """The id stays, the model is another one."""
    schema, record = described(BM25, a_function(), a_function("second", "other"))
    function = a_function(model="text-embedding-v3")
    after = alter_function(record, schema, "embed", function, revision=2)
    assert [(f.name, f.id, f.model) for f in after.functions] == [
        ("embed", 101, "text-embedding-v3"),
        ("second", 102, "text-embedding-v4"),
    ]


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("embed", a_function("renamed"), "invalid function config, name not match"),
        ("absent", a_function("absent"), "function absent not found"),
        ("embed", a_function("embed", "other"), "output field other is already of other functions"),
    ],
)
def test_bad_alteration_is_refused(
    name: str, function: schema_pb2.FunctionSchema, message: str
) -> None:
    """Each rule has Milvus's own message."""
    schema, record = described(a_function(), a_function("second", "other"))
    with pytest.raises(InvalidInput) as caught:
        alter_function(record, schema, name, function, revision=2)
    assert message in caught.value.message


def test_dropped_function_is_gone() -> None:
    """The others stay as they are."""
    schema, record = described(a_function(), a_function("second", "other"))
    after = drop_function(record, schema, "embed", revision=2)
    assert after is not None
    assert [f.name for f in after.functions] == ["second"]


def test_dropping_what_is_not_there_changes_nothing() -> None:
    """Milvus counts it as done."""
    schema, record = described(a_function())
    assert drop_function(record, schema, "absent", revision=2) is None


def test_function_of_the_upstream_is_not_dropped() -> None:
    """BM25 is the upstream's, and cannot be detached."""
    schema, record = described(a_function(), BM25)
    with pytest.raises(InvalidInput, match="does not support droping BM25"):
        drop_function(record, schema, "bm25", revision=2)
