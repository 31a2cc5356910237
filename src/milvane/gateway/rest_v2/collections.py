"""Paths of collections, their fields and functions."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from milvane.domain.errors import ServiceError
from milvane.gateway.rest_v2 import wire
from milvane.gateway.rest_v2.failures import Refusal
from milvane.gateway.rest_v2.path import Answer, Path, one_call
from milvane.gateway.rest_v2.schemas import (
    indexes_of,
    to_creation,
    to_field,
    to_function,
    to_index,
    to_pairs,
    write_collection,
)
from milvane.gateway.rest_v2.session import Session, cost_of
from milvane.instances.upstream import UpstreamStatus
from milvane.messages import common_pb2, milvus_pb2, schema_pb2

_LoadState = common_pb2.LoadState


async def _create(session: Session, body: wire.Creation) -> Answer:
    """Create, index and load, as Milvus does in one request."""
    indexes = indexes_of(body)
    await session.call("CreateCollection", to_creation(body, session.database))
    if indexes:
        for index in indexes:
            request = to_index(index, body.collection_name, session.database)
            await session.call("CreateIndex", request)
        await session.call("LoadCollection", _named(body.collection_name, session))
    return {"data": {}}


def _named(collection: str, session: Session) -> milvus_pb2.LoadCollectionRequest:
    return milvus_pb2.LoadCollectionRequest(db_name=session.database, collection_name=collection)


async def _describe(session: Session, body: wire.CollectionBody) -> Answer:
    reply = await session.describe(body.collection_name)
    content = write_collection(reply)
    content["indexes"] = await _indexes(session, body.collection_name)
    content["load"] = await _load_state(session, body.collection_name)
    return {"data": content, "cost": cost_of(reply)}


async def _indexes(session: Session, collection: str) -> list[dict[str, str]]:
    request = milvus_pb2.DescribeIndexRequest(db_name=session.database, collection_name=collection)
    try:
        reply = await session.call("DescribeIndex", request)
    except (Refusal, ServiceError, UpstreamStatus):
        return []  # none, for the upstream: the description is worth having without them
    return [
        {
            "fieldName": index.field_name,
            "indexName": index.index_name,
            "metricType": _param(index, "metric_type"),
        }
        for index in reply.index_descriptions
    ]


def _param(index: milvus_pb2.IndexDescription, key: str) -> str:
    return next((pair.value for pair in index.params if pair.key == key), "")


async def _load_state(session: Session, collection: str) -> str:
    request = milvus_pb2.GetLoadStateRequest(db_name=session.database, collection_name=collection)
    try:
        reply = await session.call("GetLoadState", request)
    except (Refusal, ServiceError, UpstreamStatus):
        return ""
    return str(_LoadState.Name(reply.state))


async def _get_load_state(session: Session, body: wire.CollectionParts) -> Answer:
    request = milvus_pb2.GetLoadStateRequest(
        db_name=session.database,
        collection_name=body.collection_name,
        partition_names=body.partition_names,
    )
    reply = await session.call("GetLoadState", request)
    if reply.state == _LoadState.LoadStateNotExist:
        raise Refusal(
            100,
            f"collection not found[database={session.database}][collection={body.collection_name}]",
        )
    content: dict[str, Any] = {"loadState": _LoadState.Name(reply.state)}
    if reply.state != _LoadState.LoadStateNotLoad:
        content["loadProgress"] = await _load_progress(session, body)
    return {"data": content}


async def _load_progress(session: Session, body: wire.CollectionParts) -> int:
    request = milvus_pb2.GetLoadingProgressRequest(
        db_name=session.database,
        collection_name=body.collection_name,
        partition_names=body.partition_names,
    )
    try:
        return int((await session.call("GetLoadingProgress", request)).progress)
    except (Refusal, ServiceError, UpstreamStatus):
        return -1


async def _has(session: Session, body: wire.CollectionBody) -> Answer:
    request = milvus_pb2.HasCollectionRequest(
        db_name=session.database, collection_name=body.collection_name
    )
    reply = await session.call("HasCollection", request)
    return {"data": {"has": reply.value}, "cost": cost_of(reply)}


async def _drop_function(session: Session, body: wire.FunctionRemoval) -> Answer:
    name = body.function_name or body.function_name_too
    if not name:
        raise Refusal(
            1802,
            "missing required parameters, error: Key: 'CollectionDropFunction.FunctionName' "
            "Error:Field validation for 'FunctionName' failed on the 'required' tag",
        )
    request = milvus_pb2.DropCollectionFunctionRequest(
        db_name=session.database, collection_name=body.collection_name, function_name=name
    )
    reply = await session.call("DropCollectionFunction", request)
    return {"data": {}, "cost": cost_of(reply)}


async def _truncate(session: Session, body: wire.CollectionBody) -> Answer:
    request = milvus_pb2.TruncateCollectionRequest(
        db_name=session.database, collection_name=body.collection_name
    )
    await session.call("TruncateCollection", request)
    return {"data": {}}


def row_count(reply: Any) -> dict[str, int | str]:
    """Read how many rows there are from statistics."""
    text = next((pair.value for pair in reply.stats if pair.key == "row_count"), "0")
    return {"rowCount": int(text) if text.isdecimal() else text}


def _added_field(body: wire.FieldAddition, database: str) -> milvus_pb2.AddCollectionFieldRequest:
    field: schema_pb2.FieldSchema = to_field(body.field)
    return milvus_pb2.AddCollectionFieldRequest(
        db_name=database,
        collection_name=body.collection_name,
        schema=field.SerializeToString(),
    )


PATHS = MappingProxyType(
    {
        "collections/list": one_call(
            "ShowCollections",
            wire.AnyBody,
            lambda _, database: milvus_pb2.ShowCollectionsRequest(db_name=database),
            lambda reply: list(reply.collection_names),
        ),
        "collections/has": Path(wire.CollectionBody, ("HasCollection",), _has),
        "collections/describe": Path(
            wire.CollectionBody, ("DescribeCollection", "DescribeIndex", "GetLoadState"), _describe
        ),
        "collections/get_stats": one_call(
            "GetCollectionStatistics",
            wire.CollectionBody,
            lambda body, database: milvus_pb2.GetCollectionStatisticsRequest(
                db_name=database, collection_name=body.collection_name
            ),
            row_count,
        ),
        "collections/get_load_state": Path(
            wire.CollectionParts, ("GetLoadState", "GetLoadingProgress"), _get_load_state
        ),
        "collections/create": Path(
            wire.Creation, ("CreateCollection", "CreateIndex", "LoadCollection"), _create
        ),
        "collections/drop": one_call(
            "DropCollection",
            wire.CollectionBody,
            lambda body, database: milvus_pb2.DropCollectionRequest(
                db_name=database, collection_name=body.collection_name
            ),
        ),
        "collections/truncate": Path(wire.CollectionBody, ("TruncateCollection",), _truncate),
        "collections/rename": one_call(
            "RenameCollection",
            wire.Rename,
            lambda body, database: milvus_pb2.RenameCollectionRequest(
                db_name=database,
                oldName=body.collection_name,
                newName=body.new_collection_name,
                newDBName=body.new_db_name or database,
            ),
        ),
        "collections/load": one_call(
            "LoadCollection",
            wire.CollectionBody,
            lambda body, database: milvus_pb2.LoadCollectionRequest(
                db_name=database, collection_name=body.collection_name
            ),
        ),
        "collections/refresh_load": one_call(
            "LoadCollection",
            wire.CollectionBody,
            lambda body, database: milvus_pb2.LoadCollectionRequest(
                db_name=database, collection_name=body.collection_name, refresh=True
            ),
        ),
        "collections/release": one_call(
            "ReleaseCollection",
            wire.CollectionBody,
            lambda body, database: milvus_pb2.ReleaseCollectionRequest(
                db_name=database, collection_name=body.collection_name
            ),
        ),
        "collections/alter_properties": one_call(
            "AlterCollection",
            wire.CollectionProperties,
            lambda body, database: milvus_pb2.AlterCollectionRequest(
                db_name=database,
                collection_name=body.collection_name,
                properties=to_pairs(body.properties),
            ),
        ),
        "collections/drop_properties": one_call(
            "AlterCollection",
            wire.CollectionPropertyKeys,
            lambda body, database: milvus_pb2.AlterCollectionRequest(
                db_name=database,
                collection_name=body.collection_name,
                delete_keys=body.property_keys,
            ),
        ),
        "collections/add_function": one_call(
            "AddCollectionFunction",
            wire.FunctionAddition,
            lambda body, database: milvus_pb2.AddCollectionFunctionRequest(
                db_name=database,
                collection_name=body.collection_name,
                functionSchema=to_function(body.function),
            ),
        ),
        "collections/alter_function": one_call(
            "AlterCollectionFunction",
            wire.FunctionChange,
            lambda body, database: milvus_pb2.AlterCollectionFunctionRequest(
                db_name=database,
                collection_name=body.collection_name,
                function_name=body.function_name,
                functionSchema=to_function(body.function),
            ),
        ),
        "collections/drop_function": Path(
            wire.FunctionRemoval, ("DropCollectionFunction",), _drop_function
        ),
        "collections/flush": one_call(
            "Flush",
            wire.CollectionBody,
            lambda body, database: milvus_pb2.FlushRequest(
                db_name=database, collection_names=[body.collection_name]
            ),
        ),
        "collections/compact": one_call(
            "ManualCompaction",
            wire.Compaction,
            lambda body, database: milvus_pb2.ManualCompactionRequest(
                db_name=database,
                collection_name=body.collection_name,
                majorCompaction=body.is_clustering,
            ),
            lambda reply: {"compactionID": reply.compactionID},
        ),
        "collections/get_compaction_state": one_call(
            "GetCompactionState",
            wire.CompactionJob,
            lambda body, _: milvus_pb2.GetCompactionStateRequest(compactionID=body.job_id),
            lambda reply: {
                "state": common_pb2.CompactionState.Name(reply.state),
                "executingPlanNumber": reply.executingPlanNo,
                "timeoutPlanNumber": reply.timeoutPlanNo,
                "completedPlanNumber": reply.completedPlanNo,
            },
        ),
        "collections/fields/add": one_call("AddCollectionField", wire.FieldAddition, _added_field),
        "collections/fields/alter_properties": one_call(
            "AlterCollectionField",
            wire.FieldParams,
            lambda body, database: milvus_pb2.AlterCollectionFieldRequest(
                db_name=database,
                collection_name=body.collection_name,
                field_name=body.field_name,
                properties=to_pairs(body.field_params),
            ),
        ),
    }
)
