"""
Adding, altering and dropping the embedding functions of a collection that exists.

Pure: from the record and schema before to the record after. Rules and wording follow Milvus 2.6.
Rows that are there already keep the vectors that they have.
"""

from __future__ import annotations

from dataclasses import replace

from milvane.domain.errors import InvalidInput
from milvane.gateway.translate.functions import (
    FIRST_ID,
    EmbeddingFunction,
    FunctionRecord,
    is_embedding,
)
from milvane.gateway.translate.schemas import read_functions
from milvane.messages import schema_pb2
from milvane.serving.functions import NoProviders
from milvane.serving.ports import RemoteProviders

_NOBODY = NoProviders()
_EMPTY = FunctionRecord(revision=0, functions=(), description="", field_descriptions=())


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
) -> FunctionRecord:
    """
    Replace an embedding function by another one of the same name.

    Raises:
        InvalidInput: With Milvus's message for the first rule that is broken.
    """
    if function.name != name:
        raise InvalidInput("invalid function config, name not match")
    before = record or _EMPTY
    old = _find(before, name)
    if old is None:
        raise InvalidInput(f"function {name} not found")
    others = (other for other in schema.functions if other.name != name)
    _check_output_free(function, {field for other in others for field in other.output_field_names})
    altered = replace(_read_alone(schema, function, providers), position=old.position)
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
            raise InvalidInput("currently does not support droping BM25 function")
    if record is None or _find(record, name) is None:
        return None
    functions = tuple(each for each in record.functions if each.name != name)
    return replace(record, revision=revision, functions=functions)


def _find(record: FunctionRecord, name: str) -> EmbeddingFunction | None:
    return next((each for each in record.functions if each.name == name), None)


def _read_alone(
    schema: schema_pb2.CollectionSchema,
    function: schema_pb2.FunctionSchema,
    providers: RemoteProviders,
) -> EmbeddingFunction:
    """Check only the function that changes: a broken other one must not stand in its way."""
    alone = schema_pb2.CollectionSchema()
    alone.CopyFrom(schema)
    del alone.functions[:]
    alone.functions.append(function)
    (found,) = read_functions(alone, providers)
    return found


def _check_output_free(function: schema_pb2.FunctionSchema, taken: set[str]) -> None:
    for name in function.output_field_names:
        if name in taken:
            raise InvalidInput(f"function's output field {name} is already of other functions")
