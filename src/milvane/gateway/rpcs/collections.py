"""Creating, describing and altering collections."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError

from milvane.domain.errors import InvalidInput
from milvane.gateway.calls import Call
from milvane.gateway.rpcs.services import Services, bind_spaces, check_runs
from milvane.gateway.translate.schemas import (
    has_embedding_functions,
    read_functions,
    refuse_reserved_property,
    restore_functions,
    skips_runtime_check,
    strip_functions,
)
from milvane.instances.upstream import UpstreamStatus
from milvane.messages import milvus_pb2, schema_pb2


async def create_collection(call: Call, services: Services) -> bytes:
    """Check the embedding functions of a new schema, and keep them as a property."""
    request = call.parse(milvus_pb2.CreateCollectionRequest)
    refuse_reserved_property(pair.key for pair in request.properties)
    schema = _parse_schema(request.schema)
    if not has_embedding_functions(schema):
        return await call.forward()
    skips_check = skips_runtime_check(request.properties)
    functions = read_functions(schema, services.providers, compat=services.compat)
    for function in functions:
        if not skips_check:
            await check_runs(services, function, time_left_s=call.time_left_s())
    functions = bind_spaces(services, functions, {each.name for each in functions})
    rewritten = strip_functions(request, schema, functions, revision=services.next_revision())
    return await call.forward(rewritten.SerializeToString())


def _parse_schema(serialized: bytes) -> schema_pb2.CollectionSchema:
    schema = schema_pb2.CollectionSchema()
    try:
        schema.ParseFromString(serialized)
    except DecodeError as error:
        raise InvalidInput("the schema of the collection cannot be decoded") from error
    return schema


async def describe_collection(call: Call, _services: Services) -> bytes:
    """Put the embedding functions back into a description."""
    reply = await call.forward()
    description = milvus_pb2.DescribeCollectionResponse.FromString(reply)
    if restore_functions(description) is None:
        return reply
    return description.SerializeToString()


async def batch_describe_collection(call: Call, _services: Services) -> bytes:
    """Put the embedding functions back into several descriptions; ask for each if need be."""
    try:
        reply = await call.forward()
    except UpstreamStatus as error:
        request = call.parse(milvus_pb2.BatchDescribeCollectionRequest)
        if error.code is not grpc.StatusCode.UNIMPLEMENTED or not request.collection_name:
            raise
        reply = await _describe_each(call, request)
    descriptions = milvus_pb2.BatchDescribeCollectionResponse.FromString(reply)
    records = [restore_functions(description) for description in descriptions.responses]
    if not any(records):
        return reply
    return descriptions.SerializeToString()


async def _describe_each(call: Call, request: milvus_pb2.BatchDescribeCollectionRequest) -> bytes:
    """Answer for an upstream that describes one collection at a time, as Milvus Lite does."""
    descriptions = milvus_pb2.BatchDescribeCollectionResponse()
    for name in request.collection_name:
        one = milvus_pb2.DescribeCollectionRequest(db_name=request.db_name, collection_name=name)
        reply = await call.forward(one.SerializeToString(), method="DescribeCollection")
        descriptions.responses.add().ParseFromString(reply)
    return descriptions.SerializeToString()


async def alter_collection(call: Call, _services: Services) -> bytes:
    """Let clients change every property but ours."""
    request = call.parse(milvus_pb2.AlterCollectionRequest)
    refuse_reserved_property([pair.key for pair in request.properties] + list(request.delete_keys))
    return await call.forward()
