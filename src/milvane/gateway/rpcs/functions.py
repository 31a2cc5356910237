"""Adding, altering and dropping embedding functions of collections that exist."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from milvane.gateway.bindings import Description, describe
from milvane.gateway.calls import Call
from milvane.gateway.rpcs.services import Services, bind_spaces, check_runs
from milvane.gateway.translate.alterations import (
    add_function,
    alter_function,
    drop_function,
    plan_schema_change,
    refuse_adding,
    refuse_dropping,
)
from milvane.gateway.translate.functions import PROPERTY_KEY, FunctionRecord, encode_record
from milvane.messages import common_pb2, milvus_pb2

_Named: TypeAlias = (
    milvus_pb2.AddCollectionFunctionRequest
    | milvus_pb2.AlterCollectionFunctionRequest
    | milvus_pb2.DropCollectionFunctionRequest
    | milvus_pb2.AlterCollectionSchemaRequest
)
"""Requests that name a collection."""


async def add_collection_function(call: Call, services: Services) -> bytes:
    """Bind a model to fields that are there."""
    request = call.parse(milvus_pb2.AddCollectionFunctionRequest)
    refuse_adding(services.compat)
    found = await _describe(call, request)
    record = add_function(
        found.record,
        found.schema,
        request.functionSchema,
        revision=services.next_revision(),
        providers=services.providers,
    )
    return await _keep(
        call, request, await _checked(call, services, record, request.functionSchema.name)
    )


async def alter_collection_function(call: Call, services: Services) -> bytes:
    """Bind other fields or another model under the same name."""
    request = call.parse(milvus_pb2.AlterCollectionFunctionRequest)
    found = await _describe(call, request)
    record = alter_function(
        found.record,
        found.schema,
        request.function_name,
        request.functionSchema,
        revision=services.next_revision(),
        providers=services.providers,
        compat=services.compat,
    )
    return await _keep(
        call, request, await _checked(call, services, record, request.functionSchema.name)
    )


async def drop_collection_function(call: Call, services: Services) -> bytes:
    """Let go of a model; the fields stay."""
    request = call.parse(milvus_pb2.DropCollectionFunctionRequest)
    refuse_dropping(services.compat)
    found = await _describe(call, request)
    record = drop_function(
        found.record, found.schema, request.function_name, revision=services.next_revision()
    )
    if record is None:
        return common_pb2.Status().SerializeToString()
    return await _keep(call, request, record)


async def alter_collection_schema(call: Call, services: Services) -> bytes:
    """Drop a function with its field as Milvus 3.0 does; let go on what concerns no function."""
    request = call.parse(milvus_pb2.AlterCollectionSchemaRequest)
    found = await _describe(call, request)
    change = plan_schema_change(
        found.record, found.schema, request.action, revision=services.next_revision()
    )
    if change is None or change.record is None:
        return await call.forward()
    if change.dropped_field:
        # The field first: a function without its field is shown and can be dropped again, while a
        # field without its function would take any vectors.
        drop = milvus_pb2.AlterCollectionSchemaRequest()
        drop.CopyFrom(request)
        drop.action.drop_request.Clear()
        drop.action.drop_request.field_name = change.dropped_field
        reply = await call.forward(drop.SerializeToString())
        if _failed(milvus_pb2.AlterCollectionSchemaResponse.FromString(reply).alter_status):
            return reply
    kept = common_pb2.Status.FromString(await _keep(call, request, change.record))
    return milvus_pb2.AlterCollectionSchemaResponse(alter_status=kept).SerializeToString()


def _failed(status: common_pb2.Status) -> bool:
    return bool(status.code or status.error_code)


async def _describe(call: Call, request: _Named) -> Description:
    return await describe(
        call, database=call.database(request.db_name), collection=request.collection_name
    )


async def _checked(
    call: Call, services: Services, record: FunctionRecord, name: str
) -> FunctionRecord:
    """See whether the function that changed works, and bind it to the weights of now."""
    bound = replace(record, functions=bind_spaces(services, record.functions, {name}))
    function = next(each for each in bound.functions if each.name == name)
    await check_runs(services, function, time_left_s=call.time_left_s())
    return bound


async def _keep(call: Call, request: _Named, record: FunctionRecord) -> bytes:
    """
    Write the record to the upstream; its reply is a status, as ours has to be.

    Without functions it stays too: it has the descriptions, and the revision by which a client that
    still knows the last function is told to look again.
    """
    change = milvus_pb2.AlterCollectionRequest(
        db_name=request.db_name, collection_name=request.collection_name
    )
    change.properties.add(key=PROPERTY_KEY, value=encode_record(record))
    return await call.forward(change.SerializeToString(), method="AlterCollection")
