"""Embedding functions of remote providers, from a schema to the upstream and back."""

from __future__ import annotations

import numpy as np
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.domain.errors import (
    InvalidInput,
    ProviderRefused,
    ProviderUnavailable,
    ServiceError,
)
from milvane.domain.providers import ProviderFunction, VectorField, VectorKind
from milvane.gateway.errors import to_status
from milvane.gateway.translate.alterations import add_function, alter_function
from milvane.gateway.translate.functions import PROPERTY_KEY, decode_record, encode_record
from milvane.gateway.translate.schemas import (
    failing_check,
    read_functions,
    skips_runtime_check,
    strip_functions,
)
from milvane.gateway.translate.vectors import vector_column, vector_placeholder
from milvane.providers.service import ProviderService
from milvane.providers.settings import ProvidersSettings

PROVIDERS = ProviderService(ProvidersSettings(), environment={})
TYPES = schema_pb2.DataType


def a_function(**params: str) -> schema_pb2.FunctionSchema:
    """Build a function that fills `dense` from `document`."""
    function = schema_pb2.FunctionSchema(
        name="embed",
        type=schema_pb2.FunctionType.TextEmbedding,
        input_field_names=["document"],
        output_field_names=["dense"],
    )
    for key, value in params.items():
        function.params.add(key=key, value=value)
    return function


def a_schema(kind: int = TYPES.FloatVector, **params: str) -> schema_pb2.CollectionSchema:
    """Build a schema with that function, if it has parameters."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="id", data_type=TYPES.Int64, is_primary_key=True)
    schema.fields.add(name="document", data_type=TYPES.VarChar)
    vector = schema.fields.add(name="dense", data_type=kind)
    vector.type_params.add(key="dim", value="8")
    if params:
        schema.functions.append(a_function(**params))
    return schema


def test_function_is_written_as_serving_knows_it() -> None:
    """Keys and the provider in lower case, with the field that the vectors are for."""
    (function,) = read_functions(a_schema(Provider="OpenAI", MODEL_NAME="M", dim="8"), PROVIDERS)
    assert function.to_remote() == ProviderFunction(
        "openai",
        {"provider": "OpenAI", "model_name": "M", "dim": "8"},
        VectorField("dense", 8, VectorKind.FLOAT),
    )
    assert (function.model, function.dimension) == ("M", 8)


def test_function_of_this_service_is_not_remote() -> None:
    """What is embedded here is asked of nobody."""
    schema = a_schema(provider="aliyun_milvus", model_name="text-embedding-v4", dim="8")
    schema.fields[2].type_params[0].value = "1024"
    schema.functions[0].params[2].value = "1024"
    (function,) = read_functions(schema, PROVIDERS)
    assert function.to_remote() is None


def test_function_survives_the_way_through_the_upstream() -> None:
    """The kind of its field too; a record without one is of floats."""
    schema = a_schema(TYPES.Int8Vector, provider="voyageai", model_name="m")
    functions = read_functions(schema, PROVIDERS)
    request = milvus_pb2.CreateCollectionRequest(collection_name="articles")
    rewritten = strip_functions(request, schema, functions, revision=1)
    (pair,) = (pair for pair in rewritten.properties if pair.key == PROPERTY_KEY)
    record = decode_record(pair.value)
    assert record.functions == functions
    assert record.functions[0].kind is VectorKind.INT8
    older = encode_record(record).replace(',"kind":"Int8Vector"', "")
    assert decode_record(older).functions[0].kind is VectorKind.FLOAT


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"provider": "nobody"},
            "unsupported text embedding service provider: [nobody] , list of supported "
            "[aliyun_milvus, openai, azure_openai, dashscope, bedrock, vertexai, voyageai, cohere, "
            "siliconflow, tei, yc, gemini, huggingface]",
        ),
        ({"provider": "tei"}, "endpoint: [] is not a valid http/https link"),
        ({"provider": "openai", "dim": "4"}, "does not match the dimension [4]"),
        (
            {"provider": "openai", "API_Key": "sk-secret"},
            "the function parameter [api_key] looks like a raw key",
        ),
        (
            {"provider": "aliyun_milvus", "credential": "sk-0123456789abcdef0123"},
            "the function parameter [credential] looks like a raw key",
        ),
    ],
)
def test_wrong_function_is_refused_by_its_name(params: dict[str, str], message: str) -> None:
    """Checks of providers are told as checks of the function, and no secret is repeated."""
    with pytest.raises(InvalidInput) as caught:
        read_functions(a_schema(**params), PROVIDERS)
    assert caught.value.message.startswith(
        "check function [embed:TextEmbedding] failed, the err is: "
    )
    assert message in caught.value.message
    assert "sk-" not in caught.value.message


def test_added_and_altered_functions_may_be_remote() -> None:
    """The same checks hold for functions that come later."""
    added = add_function(
        None, a_schema(), a_function(provider="cohere"), revision=2, providers=PROVIDERS
    )
    assert added.functions[0].provider == "cohere"
    schema = a_schema(provider="cohere")
    change = a_function(provider="yc")
    with pytest.raises(InvalidInput, match="yc embedding model name is required"):
        alter_function(added, schema, "embed", change, revision=3, providers=PROVIDERS)


@pytest.mark.parametrize(
    ("value", "skips"),
    [("true", True), ("True", True), ("1", True), ("false", False), ("0", False), (None, False)],
)
def test_runtime_check_may_be_skipped(value: str | None, skips: bool) -> None:
    """The property takes a boolean as Go spells it."""
    pairs = [common_pb2.KeyValuePair(key="ttl", value="5")]
    if value is not None:
        pairs.append(common_pb2.KeyValuePair(key="disable_func_runtime_check", value=value))
    assert skips_runtime_check(pairs) is skips


def test_skipping_is_a_boolean() -> None:
    """Anything else is refused rather than guessed."""
    pair = common_pb2.KeyValuePair(key="disable_func_runtime_check", value="yes")
    with pytest.raises(InvalidInput, match="failed to parse disable_func_runtime_check param"):
        skips_runtime_check([pair])


def test_whole_numbers_reach_the_upstream_as_bytes() -> None:
    """Rows and queries of an INT8_VECTOR field have one byte for each component."""
    vectors = np.array([[-128, 0, 127], [1, 2, 3]], np.int8)
    column = vector_column(schema_pb2.FieldSchema(name="dense", fieldID=102), vectors)
    assert (column.type, column.vectors.dim) == (TYPES.Int8Vector, 3)
    assert column.vectors.int8_vector == vectors.tobytes()
    group = common_pb2.PlaceholderGroup.FromString(vector_placeholder(vectors))
    assert group.placeholders[0].type == common_pb2.PlaceholderType.Int8Vector
    assert list(group.placeholders[0].values) == [b"\x80\x00\x7f", b"\x01\x02\x03"]


@pytest.mark.parametrize("kind", [InvalidInput, ProviderRefused, ProviderUnavailable])
def test_failed_check_keeps_its_kind(kind: type[ServiceError]) -> None:
    """The function's name is put in front, and whether to try again stays known."""
    with pytest.raises(ServiceError) as caught, failing_check("embed"):
        raise kind("no")
    assert type(caught.value) is kind
    assert caught.value.message == ("check function [embed:TextEmbedding] failed, the err is: no")


@pytest.mark.parametrize(
    ("error", "old", "new"),
    [
        (InvalidInput("no"), 65535, 1100),
        (ProviderRefused("no"), 65535, 2400),
        (ProviderUnavailable("no"), 65535, 2),
    ],
)
def test_failure_of_a_provider_has_milvus_codes(error: ServiceError, old: int, new: int) -> None:
    """Milvus 2.6 has one code for all; 3.0 tells bad input, refusal and absence apart."""
    assert to_status(error).code == old
    assert to_status(error, "3.0").code == new
    assert to_status(error).retriable is isinstance(error, ProviderUnavailable)
