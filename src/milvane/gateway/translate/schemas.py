"""
Collection schemas: read the embedding functions out of one, and put them back.

Pure. Rules, their order and their wording follow Milvus 2.6 (`validateFunction` and the text
embedding runner), since clients and tests match on the messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from milvane.domain.errors import (
    InvalidInput,
    ProviderRefused,
    ProviderUnavailable,
    ServiceError,
)
from milvane.domain.providers import VectorField, VectorKind
from milvane.gateway.settings import Compat
from milvane.gateway.translate.functions import (
    FIRST_ID,
    PROPERTY_KEY,
    EmbeddingFunction,
    FunctionRecord,
    encode_record,
    find_record,
    is_embedding,
    lowered,
    to_message,
)
from milvane.gateway.translate.parameters import resolve_model
from milvane.messages import milvus_pb2, schema_pb2
from milvane.serving.functions import NoProviders
from milvane.serving.ports import RemoteProviders

_NOBODY = NoProviders()
_KINDS: Mapping[int, VectorKind] = {
    schema_pb2.DataType.FloatVector: VectorKind.FLOAT,
    schema_pb2.DataType.Int8Vector: VectorKind.INT8,
    schema_pb2.DataType.SparseFloatVector: VectorKind.SPARSE,
}
_GO_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_GO_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
RUNTIME_CHECK_KEY = "disable_func_runtime_check"
"""The collection property that skips the one real call to each provider at creation."""

_TEXT_EMBEDDING = schema_pb2.FunctionType.TextEmbedding
_BM25 = schema_pb2.FunctionType.BM25
_TEXT_TYPES = (schema_pb2.DataType.VarChar, schema_pb2.DataType.Text)


def has_embedding_functions(schema: schema_pb2.CollectionSchema) -> bool:
    """Say whether any function of a schema is ours to run."""
    return any(is_embedding(function) for function in schema.functions)


def read_functions(
    schema: schema_pb2.CollectionSchema,
    providers: RemoteProviders = _NOBODY,
    *,
    compat: Compat = "2.6",
) -> tuple[EmbeddingFunction, ...]:
    """
    Check all functions of a new schema and return the embedding functions.

    Args:
        schema: As the client sent it.

        providers: Whom functions may name beside this service itself.

        compat: Which version of Milvus the rules and the wording are of.

    Raises:
        InvalidInput: With Milvus's own message for the first rule that is broken.
    """
    for function in schema.functions:
        _check_names(function)
    for function in schema.functions:
        _check_params(function)
    _check_unique_names(schema.functions)
    fields = {field.name: field for field in schema.fields}
    taken: set[str] = set()
    for function in schema.functions:
        _check_fields(function, fields, taken)
    if compat == "3.0":
        _check_no_cascade(schema.functions)
    return tuple(
        _bind(position, function, fields, providers, compat)
        for position, function in enumerate(schema.functions)
        if is_embedding(function)
    )


def _check_names(function: schema_pb2.FunctionSchema) -> None:
    name = function.name
    if not name:
        raise InvalidInput("function name cannot be empty")
    inputs, outputs = function.input_field_names, function.output_field_names
    if not inputs:
        raise InvalidInput(f"function input field names cannot be empty, function: {name}")
    if not outputs:
        raise InvalidInput(f"function output field names cannot be empty, function: {name}")
    for side, names in (("input", inputs), ("output", outputs)):
        if "" in names:
            raise InvalidInput(
                f"function {side} field name cannot be empty string, function: {name}"
            )
        for field, uses in Counter(names).items():
            if uses > 1:
                raise InvalidInput(
                    f"each function {side} field should be used exactly once in the same "
                    f"function, function: {name}, {side} field: {field}"
                )
    for field in inputs:
        if field in outputs:
            raise InvalidInput(
                "a single field cannot be both input and output in the same function, "
                f"function: {name}, field: {field}"
            )


def _check_params(function: schema_pb2.FunctionSchema) -> None:
    if function.type == _TEXT_EMBEDDING and not function.params:
        # Milvus's own wording, although it means the opposite; clients match on it.
        raise InvalidInput("TextEmbedding function accepts no params")
    if function.type == _BM25 and function.params and not is_embedding(function):
        raise InvalidInput("BM25 function accepts no params")
    if function.type == schema_pb2.FunctionType.Unknown:
        raise InvalidInput("check function params with unknown function type")


def _check_unique_names(functions: Iterable[schema_pb2.FunctionSchema]) -> None:
    for name, uses in Counter(function.name for function in functions).items():
        if uses > 1:
            raise InvalidInput(f"duplicate function name: {name}")


def _check_no_cascade(functions: Sequence[schema_pb2.FunctionSchema]) -> None:
    outputs = {name for function in functions for name in function.output_field_names}
    for function in functions:
        for name in function.input_field_names:
            if name in outputs:
                raise InvalidInput(
                    f"function {function.name} input field {name} is the output of another "
                    "function; function cascade is not supported"
                )


def _check_fields(
    function: schema_pb2.FunctionSchema,
    fields: dict[str, schema_pb2.FieldSchema],
    taken: set[str],
) -> None:
    """Check a function's fields; `taken` collects the output fields of all functions so far."""
    for name in function.input_field_names:
        if name not in fields:
            raise InvalidInput(f"function input field not found: {name}")
    if is_embedding(function):
        _check_text_inputs(function, [fields[name] for name in function.input_field_names])
    for name in function.output_field_names:
        if name not in fields:
            raise InvalidInput(f"function output field not found: {name}")
        _check_output(function, fields[name])
        if name in taken:
            raise InvalidInput(
                f"duplicate function output field: function {function.name}, field {name}"
            )
        taken.add(name)
    if is_embedding(function):
        _check_vector_outputs(function, [fields[name] for name in function.output_field_names])


def _check_text_inputs(
    function: schema_pb2.FunctionSchema, inputs: Sequence[schema_pb2.FieldSchema]
) -> None:
    if len(inputs) != 1 or inputs[0].data_type not in _TEXT_TYPES:
        raise InvalidInput(
            "TextEmbedding function input field must be a VARCHAR/TEXT field: function "
            f"{function.name}, field {', '.join(field.name for field in inputs)}"
        )
    if inputs[0].nullable:
        raise InvalidInput(
            f"function input field cannot be nullable: function {function.name}, "
            f"field {inputs[0].name}"
        )


def _check_output(function: schema_pb2.FunctionSchema, field: schema_pb2.FieldSchema) -> None:
    where = f"function {function.name}, field {field.name}"
    if field.is_primary_key:
        raise InvalidInput(f"function output field cannot be primary key: {where}")
    if field.is_partition_key or field.is_clustering_key:
        raise InvalidInput(
            f"function output field cannot be partition key or clustering key: {where}"
        )
    if field.nullable:
        raise InvalidInput(f"function output field cannot be nullable: {where}")


def _check_vector_outputs(
    function: schema_pb2.FunctionSchema, outputs: Sequence[schema_pb2.FieldSchema]
) -> None:
    for field in outputs:
        if field.data_type not in _KINDS:
            raise InvalidInput(
                "TextEmbedding function output field must be a FloatVector or Int8Vector field: "
                f"function {function.name}, field {field.name}"
            )
    if len(outputs) != 1:
        raise InvalidInput(
            f"text function should only have one output field, but now is {len(outputs)}"
        )


def _bind(
    position: int,
    function: schema_pb2.FunctionSchema,
    fields: dict[str, schema_pb2.FieldSchema],
    providers: RemoteProviders,
    compat: Compat,
) -> EmbeddingFunction:
    output = fields[function.output_field_names[0]]
    params = tuple((pair.key, pair.value) for pair in function.params)
    field = VectorField(output.name, field_dimension(output), _KINDS[output.data_type])
    with failing_check(function.name):
        model = resolve_model(lowered(params), field, providers, compat=compat)
    return EmbeddingFunction(
        position=position,
        name=function.name,
        description=function.description,
        input_field=function.input_field_names[0],
        output_field=output.name,
        params=params,
        model=model,
        dimension=field.dimension,
        kind=field.kind,
        type=function.type,
    )


@contextmanager
def failing_check(name: str) -> Iterator[None]:
    """Name the function whose check fails, in Milvus's words; the kind of failure stays."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(_check_failed(name, error)) from error
    except ProviderUnavailable as error:
        raise ProviderUnavailable(_check_failed(name, error)) from error
    except ProviderRefused as error:
        raise ProviderRefused(_check_failed(name, error)) from error


def _check_failed(name: str, error: ServiceError) -> str:
    return f"check function [{name}:TextEmbedding] failed, the err is: {error.message}"


def field_dimension(field: schema_pb2.FieldSchema) -> int:
    """Read the dimension of a vector field; 0 if it has none."""
    for pair in field.type_params:
        if pair.key == "dim" and pair.value.isdecimal():
            return int(pair.value)
    return 0


def strip_functions(
    request: milvus_pb2.CreateCollectionRequest,
    schema: schema_pb2.CollectionSchema,
    functions: tuple[EmbeddingFunction, ...],
    *,
    revision: int,
) -> milvus_pb2.CreateCollectionRequest:
    """
    Rewrite a creation for an upstream that does not know our provider.

    Args:
        request: The client's request; left as it is.

        schema: Its schema; left as it is.

        functions: What `read_functions` found in it.

        revision: The schema revision that clients will see.

    Returns:
        The request without the embedding functions, and with the property that keeps them.
    """
    record = FunctionRecord(
        revision=revision,
        functions=functions,
        description=schema.description,
        field_descriptions=tuple(
            (field.name, field.description) for field in schema.fields if field.description
        ),
    )
    bare = schema_pb2.CollectionSchema()
    bare.CopyFrom(schema)
    del bare.functions[:]
    bare.functions.extend(f for f in schema.functions if not is_embedding(f))
    outputs = {function.output_field for function in functions}
    for field in bare.fields:
        if field.name in outputs:
            field.is_function_output = False  # to the upstream the field is like any other
    rewritten = milvus_pb2.CreateCollectionRequest()
    rewritten.CopyFrom(request)
    rewritten.schema = bare.SerializeToString()
    rewritten.properties.add(key=PROPERTY_KEY, value=encode_record(record))
    return rewritten


def skips_runtime_check(properties: Iterable[Any]) -> bool:
    """
    Read the property that skips the real call to each provider.

    Args:
        properties: Key-value pairs of the collection.

    Raises:
        InvalidInput: If it is not a boolean in one of the spellings that Go takes.
    """
    for pair in properties:
        if pair.key == RUNTIME_CHECK_KEY:
            if pair.value in _GO_TRUE:
                return True
            if pair.value not in _GO_FALSE:
                raise InvalidInput(
                    f"failed to parse {RUNTIME_CHECK_KEY} param, the value [{pair.value}] is not "
                    "a boolean, only supports: [true/false]"
                )
    return False


def refuse_reserved_property(keys: Iterable[str]) -> None:
    """
    Keep clients away from the property that holds the functions.

    Raises:
        InvalidInput: If a key is ours.
    """
    if PROPERTY_KEY in keys:
        raise InvalidInput(
            f"the collection property {PROPERTY_KEY!r} is reserved: embedding functions are set "
            "through the schema"
        )


def restore_functions(response: milvus_pb2.DescribeCollectionResponse) -> FunctionRecord | None:
    """
    Put the embedding functions back into a description, in place, and hide our property.

    Returns:
        The collection's record, or none if it has no embedding function; then the response is
        left as it was.
    """
    record = find_record(response.properties)
    if record is None:
        return None
    schema = response.schema
    _number_fields(schema.fields)
    _describe(schema, record)
    outputs = {function.output_field for function in record.functions}
    for field in schema.fields:
        if field.name in outputs:
            field.is_function_output = True
    _merge_functions(schema, record)
    # An upstream that counts revisions itself checks them itself: clients must see its own count.
    response.update_timestamp = response.update_timestamp or record.revision
    kept = [pair for pair in response.properties if pair.key != PROPERTY_KEY]
    del response.properties[:]
    response.properties.extend(kept)
    return record


def _number_fields(fields: Sequence[schema_pb2.FieldSchema]) -> None:
    """Number fields as Milvus does, where the upstream does not."""
    if any(field.fieldID for field in fields):
        return
    for position, field in enumerate(fields):
        field.fieldID = FIRST_ID + position


def _describe(schema: schema_pb2.CollectionSchema, record: FunctionRecord) -> None:
    schema.description = schema.description or record.description
    descriptions = dict(record.field_descriptions)
    for field in schema.fields:
        field.description = field.description or descriptions.get(field.name, "")


def _merge_functions(schema: schema_pb2.CollectionSchema, record: FunctionRecord) -> None:
    """Put ours among the upstream's own functions (BM25) in the order of the original schema."""
    field_ids = {field.name: field.fieldID for field in schema.fields}
    upstream = list(schema.functions)
    for function in upstream:
        del function.input_field_ids[:], function.output_field_ids[:]
        function.input_field_ids.extend(field_ids[name] for name in function.input_field_names)
        function.output_field_ids.extend(field_ids[name] for name in function.output_field_names)
    merged = [to_message(function, field_ids) for function in record.functions]
    ours = {function.id for function in record.functions}
    free = (number for number in count(FIRST_ID) if number not in ours)
    for function in upstream:
        function.id = function.id or next(free)
        merged.append(function)
    merged.sort(key=lambda function: function.id)
    del schema.functions[:]
    schema.functions.extend(merged)
