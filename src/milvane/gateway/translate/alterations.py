"""
Adding, altering and dropping the embedding functions of a collection that exists.

Pure: from the record and schema before to the record after. Rules and wording follow Milvus 2.6, or
3.0 where that is set: there a function is made with its collection, dropped with its field, and
altered only in how its provider is reached. Rows that are there keep the vectors that they have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from milvane.domain.errors import InvalidInput
from milvane.gateway.settings import Compat
from milvane.gateway.translate.functions import (
    FIRST_ID,
    EmbeddingFunction,
    FunctionRecord,
    is_embedding,
    lowered,
)
from milvane.gateway.translate.schemas import read_functions
from milvane.messages import milvus_pb2, schema_pb2
from milvane.serving.functions import NoProviders
from milvane.serving.ports import RemoteProviders

_NOBODY = NoProviders()
_EMPTY = FunctionRecord(revision=0, functions=(), description="", field_descriptions=())
_ALTERABLE = frozenset(
    {
        "url",
        "credential",
        "integration_id",
        "model_deployment_id",
        "timeout_ms",
        "max_client_batch_size",
        "region",
        "location",
        "projectid",
        "user",
    }
)
"""Parameters that Milvus 3.0 lets one alter: they change how vectors are got, not what they are."""


def refuse_adding(compat: Compat) -> None:
    """
    Refuse the call that adds a function, where Milvus has it no longer.

    Raises:
        InvalidInput: In the words of Milvus 3.0.
    """
    if compat == "3.0":
        raise InvalidInput(
            "AddCollectionFunction RPC is no longer supported; add BM25/MinHash via "
            "add_function_field, and define a TextEmbedding function at collection creation"
        )


def refuse_dropping(compat: Compat) -> None:
    """
    Refuse the call that drops a function and keeps its field, where Milvus has it no longer.

    Raises:
        InvalidInput: In the words of Milvus 3.0.
    """
    if compat == "3.0":
        raise InvalidInput(
            "DropCollectionFunction RPC is no longer supported; drop a function via "
            "drop_function_field"
        )


def add_function(
    record: FunctionRecord | None,
    schema: schema_pb2.CollectionSchema,
    function: schema_pb2.FunctionSchema,
    *,
    revision: int,
    providers: RemoteProviders = _NOBODY,
) -> FunctionRecord:
    """
    Add an embedding function.

    Args:
        record: What is kept of the collection; none if it has no embedding function yet.

        schema: The schema as clients see it.

        function: The new function.

        revision: The schema revision from now on.

        providers: Whom functions may name beside this service itself.

    Raises:
        InvalidInput: With Milvus's message for the first rule that is broken.
    """
    if not is_embedding(function):
        name = schema_pb2.FunctionType.Name(function.type)
        raise InvalidInput(f"currently does not support adding {name} function")
    if any(function.name == other.name for other in schema.functions):
        raise InvalidInput(f"function name already exists: {function.name}")
    taken = {name for other in schema.functions for name in other.output_field_names}
    _check_output_free(function, taken)
    position = 1 + max((other.id - FIRST_ID for other in schema.functions), default=-1)
    before = record or _EMPTY
    added = replace(_read_alone(schema, function, providers), position=position)
    return replace(before, revision=revision, functions=(*before.functions, added))


def alter_function(
    record: FunctionRecord | None,
    schema: schema_pb2.CollectionSchema,
    name: str,
    function: schema_pb2.FunctionSchema,
    *,
    revision: int,
    providers: RemoteProviders = _NOBODY,
    compat: Compat = "2.6",
) -> FunctionRecord:
    """
    Replace an embedding function by another one of the same name.

    Args:
        record: What is kept of the collection.

        schema: The schema as clients see it.

        name: The function's.

        function: What it is to be.

        revision: The schema revision from now on.

        providers: Whom functions may name beside this service itself.

        compat: Which version of Milvus the rules are of.

    Raises:
        InvalidInput: With Milvus's message for the first rule that is broken.
    """
    if function.name != name and compat == "2.6":
        raise InvalidInput("invalid function config, name not match")
    before = record or _EMPTY
    old = _find(before, name)
    if old is None:
        raise InvalidInput(f"function {name} not found")
    if compat == "3.0":
        _check_still_the_same(old, function)
    others = (other for other in schema.functions if other.name != name)
    _check_output_free(function, {field for other in others for field in other.output_field_names})
    altered = replace(_read_alone(schema, function, providers, compat), position=old.position)
    functions = tuple(altered if each is old else each for each in before.functions)
    return replace(before, revision=revision, functions=functions)


def drop_function(
    record: FunctionRecord | None,
    schema: schema_pb2.CollectionSchema,
    name: str,
    *,
    revision: int,
) -> FunctionRecord | None:
    """
    Detach an embedding function; its fields stay, and clients bring the vectors from now on.

    Returns:
        None if there is no such function, which Milvus counts as done.

    Raises:
        InvalidInput: If the function is one that the upstream runs.
    """
    for function in schema.functions:
        if function.name == name and not is_embedding(function):
            kind = schema_pb2.FunctionType.Name(function.type)
            raise InvalidInput(f"currently does not support droping {kind} function")
    if record is None or _find(record, name) is None:
        return None
    functions = tuple(each for each in record.functions if each.name != name)
    return replace(record, revision=revision, functions=functions)


def _check_still_the_same(old: EmbeddingFunction, function: schema_pb2.FunctionSchema) -> None:
    kind = schema_pb2.FunctionType.Name
    aspects = (
        ("name", old.name, function.name),
        ("type", kind(old.type), kind(function.type)),
        ("input fields", [old.input_field], list(function.input_field_names)),
        ("output fields", [old.output_field], list(function.output_field_names)),
    )
    for aspect, before, after in aspects:
        if before != after:
            raise InvalidInput(f"function {aspect} cannot be altered: {before} -> {after}")
    was = lowered(old.params)
    will_be = lowered((pair.key, pair.value) for pair in function.params)
    for key in sorted(was.keys() | will_be.keys()):
        if was.get(key) != will_be.get(key) and key not in _ALTERABLE:
            raise InvalidInput(
                f'function param "{key}" cannot be altered for function {old.name}; only '
                "connection/runtime params may be changed"
            )


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """What a change of the schema comes to."""

    record: FunctionRecord | None = None
    """What is kept from then on; none if it stays as it is."""
    dropped_field: str = ""
    """A field that the upstream is to drop first; empty if there is none."""


def plan_schema_change(
    record: FunctionRecord | None,
    schema: schema_pb2.CollectionSchema,
    action: milvus_pb2.AlterCollectionSchemaRequest.Action,
    *,
    revision: int,
) -> SchemaChange | None:
    """
    See what a change of the schema, as Milvus 3.0 knows it, means for embedding functions.

    Returns:
        None if the change is none of the gateway's business.

    Raises:
        InvalidInput: If it adds an embedding function, or takes a field away from one.
    """
    for function in action.add_request.func_schema:
        if is_embedding(function):
            raise InvalidInput(
                "add_function_field adds BM25/MinHash functions; define a TextEmbedding function "
                "at collection creation"
            )
    drop = action.drop_request
    if record is None or not action.HasField("drop_request"):
        return None
    _check_field_free(record, schema, drop)
    function = _find(record, drop.function_name)
    if function is None:
        return None
    functions = tuple(each for each in record.functions if each is not function)
    left = replace(record, revision=revision, functions=functions)
    names = {field.name for field in schema.fields}
    goes = drop.drop_function_output_fields and function.output_field in names
    return SchemaChange(left, function.output_field if goes else "")


def _check_field_free(
    record: FunctionRecord,
    schema: schema_pb2.CollectionSchema,
    drop: milvus_pb2.AlterCollectionSchemaRequest.DropRequest,
) -> None:
    ids = {field.fieldID: field.name for field in schema.fields}
    name = drop.field_name or ids.get(drop.field_id, "")
    for function in record.functions:
        if name in (function.input_field, function.output_field):
            raise InvalidInput(
                f"cannot drop field {name}: function {function.name} needs it; drop the function "
                "via drop_function_field first"
            )


def _find(record: FunctionRecord, name: str) -> EmbeddingFunction | None:
    return next((each for each in record.functions if each.name == name), None)


def _read_alone(
    schema: schema_pb2.CollectionSchema,
    function: schema_pb2.FunctionSchema,
    providers: RemoteProviders,
    compat: Compat = "2.6",
) -> EmbeddingFunction:
    """Check only the function that changes: a broken other one must not stand in its way."""
    alone = schema_pb2.CollectionSchema()
    alone.CopyFrom(schema)
    del alone.functions[:]
    alone.functions.append(function)
    (found,) = read_functions(alone, providers, compat=compat)
    return found


def _check_output_free(function: schema_pb2.FunctionSchema, taken: set[str]) -> None:
    for name in function.output_field_names:
        if name in taken:
            raise InvalidInput(f"function's output field {name} is already of other functions")
