"""Paths of what collections stand in and are found by: databases, partitions, indexes, aliases."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from milvane.gateway.rest_v2 import wire
from milvane.gateway.rest_v2.collections import row_count
from milvane.gateway.rest_v2.failures import Refusal
from milvane.gateway.rest_v2.path import Answer, Path, one_call
from milvane.gateway.rest_v2.schemas import to_index, to_pairs, write_pairs
from milvane.gateway.rest_v2.session import Session
from milvane.messages import common_pb2, milvus_pb2

_NO_INDEX_CODES = frozenset({25, 700})


async def _create_indexes(session: Session, body: wire.IndexCreation) -> Answer:
    for index in body.index_params:
        request = to_index(index, body.collection_name, session.database)
        await session.call("CreateIndex", request)
    return {"data": {}}


async def _list_indexes(session: Session, body: wire.CollectionBody) -> Answer:
    request = milvus_pb2.DescribeIndexRequest(
        db_name=session.database, collection_name=body.collection_name
    )
    try:
        reply = await session.call("DescribeIndex", request)
    except Refusal as refusal:
        if refusal.code not in _NO_INDEX_CODES:
            raise
        return {"data": []}
    return {"data": [index.index_name for index in reply.index_descriptions]}


def _write_index(index: milvus_pb2.IndexDescription) -> dict[str, Any]:
    params = {pair.key: pair.value for pair in index.params}
    return {
        "indexName": index.index_name,
        "fieldName": index.field_name,
        "indexType": params.get("index_type", ""),
        "metricType": params.get("metric_type", ""),
        "totalRows": index.total_rows,
        "pendingRows": index.pending_index_rows,
        "indexedRows": index.indexed_rows,
        "indexState": common_pb2.IndexState.Name(index.state),
        "failReason": index.index_state_fail_reason,
    }


DATABASES = MappingProxyType(
    {
        "databases/list": one_call(
            "ListDatabases",
            wire.AnyBody,
            lambda _body, _database: milvus_pb2.ListDatabasesRequest(),
            lambda reply: list(reply.db_names),
        ),
        "databases/create": one_call(
            "CreateDatabase",
            wire.DatabaseProperties,
            lambda body, _: milvus_pb2.CreateDatabaseRequest(
                db_name=body.db_name, properties=to_pairs(body.properties)
            ),
        ),
        "databases/drop": one_call(
            "DropDatabase",
            wire.DatabaseBody,
            lambda body, _: milvus_pb2.DropDatabaseRequest(db_name=body.db_name),
        ),
        "databases/describe": one_call(
            "DescribeDatabase",
            wire.DatabaseBody,
            lambda body, _: milvus_pb2.DescribeDatabaseRequest(db_name=body.db_name),
            lambda reply: {
                "dbName": reply.db_name,
                "dbID": reply.dbID,
                "properties": write_pairs(reply.properties),
            },
        ),
        **dict.fromkeys(
            ("databases/alter", "databases/alter_properties"),
            one_call(
                "AlterDatabase",
                wire.DatabaseProperties,
                lambda body, _: milvus_pb2.AlterDatabaseRequest(
                    db_name=body.db_name, properties=to_pairs(body.properties)
                ),
            ),
        ),
        "databases/drop_properties": one_call(
            "AlterDatabase",
            wire.DatabasePropertyKeys,
            lambda body, _: milvus_pb2.AlterDatabaseRequest(
                db_name=body.db_name, delete_keys=body.property_keys
            ),
        ),
    }
)

PARTITIONS = MappingProxyType(
    {
        "partitions/list": one_call(
            "ShowPartitions",
            wire.CollectionBody,
            lambda body, database: milvus_pb2.ShowPartitionsRequest(
                db_name=database, collection_name=body.collection_name
            ),
            lambda reply: list(reply.partition_names),
        ),
        "partitions/has": one_call(
            "HasPartition",
            wire.PartitionBody,
            lambda body, database: milvus_pb2.HasPartitionRequest(
                db_name=database,
                collection_name=body.collection_name,
                partition_name=body.partition_name,
            ),
            lambda reply: {"has": reply.value},
        ),
        "partitions/get_stats": one_call(
            "GetPartitionStatistics",
            wire.PartitionBody,
            lambda body, database: milvus_pb2.GetPartitionStatisticsRequest(
                db_name=database,
                collection_name=body.collection_name,
                partition_name=body.partition_name,
            ),
            row_count,
        ),
        "partitions/create": one_call(
            "CreatePartition",
            wire.PartitionBody,
            lambda body, database: milvus_pb2.CreatePartitionRequest(
                db_name=database,
                collection_name=body.collection_name,
                partition_name=body.partition_name,
            ),
        ),
        "partitions/drop": one_call(
            "DropPartition",
            wire.PartitionBody,
            lambda body, database: milvus_pb2.DropPartitionRequest(
                db_name=database,
                collection_name=body.collection_name,
                partition_name=body.partition_name,
            ),
        ),
        "partitions/load": one_call(
            "LoadPartitions",
            wire.PartitionsBody,
            lambda body, database: milvus_pb2.LoadPartitionsRequest(
                db_name=database,
                collection_name=body.collection_name,
                partition_names=body.partition_names,
            ),
        ),
        "partitions/release": one_call(
            "ReleasePartitions",
            wire.PartitionsBody,
            lambda body, database: milvus_pb2.ReleasePartitionsRequest(
                db_name=database,
                collection_name=body.collection_name,
                partition_names=body.partition_names,
            ),
        ),
    }
)

INDEXES = MappingProxyType(
    {
        "indexes/list": Path(wire.CollectionBody, ("DescribeIndex",), _list_indexes),
        "indexes/describe": one_call(
            "DescribeIndex",
            wire.IndexBody,
            lambda body, database: milvus_pb2.DescribeIndexRequest(
                db_name=database, collection_name=body.collection_name, index_name=body.index_name
            ),
            lambda reply: [_write_index(index) for index in reply.index_descriptions],
        ),
        "indexes/create": Path(wire.IndexCreation, ("CreateIndex",), _create_indexes),
        "indexes/drop": one_call(
            "DropIndex",
            wire.IndexBody,
            lambda body, database: milvus_pb2.DropIndexRequest(
                db_name=database, collection_name=body.collection_name, index_name=body.index_name
            ),
        ),
        "indexes/alter_properties": one_call(
            "AlterIndex",
            wire.IndexProperties,
            lambda body, database: milvus_pb2.AlterIndexRequest(
                db_name=database,
                collection_name=body.collection_name,
                index_name=body.index_name,
                extra_params=to_pairs(body.properties),
            ),
        ),
        "indexes/drop_properties": one_call(
            "AlterIndex",
            wire.IndexPropertyKeys,
            lambda body, database: milvus_pb2.AlterIndexRequest(
                db_name=database,
                collection_name=body.collection_name,
                index_name=body.index_name,
                delete_keys=body.property_keys,
            ),
        ),
    }
)

ALIASES = MappingProxyType(
    {
        "aliases/list": one_call(
            "ListAliases",
            wire.CollectionFilter,
            lambda body, database: milvus_pb2.ListAliasesRequest(
                db_name=database, collection_name=body.collection_name
            ),
            lambda reply: list(reply.aliases),
        ),
        "aliases/describe": one_call(
            "DescribeAlias",
            wire.AliasBody,
            lambda body, database: milvus_pb2.DescribeAliasRequest(
                db_name=database, alias=body.alias_name
            ),
            lambda reply: {
                "dbName": reply.db_name,
                "collectionName": reply.collection,
                "aliasName": reply.alias,
            },
        ),
        "aliases/create": one_call(
            "CreateAlias",
            wire.AliasTarget,
            lambda body, database: milvus_pb2.CreateAliasRequest(
                db_name=database, collection_name=body.collection_name, alias=body.alias_name
            ),
        ),
        "aliases/alter": one_call(
            "AlterAlias",
            wire.AliasTarget,
            lambda body, database: milvus_pb2.AlterAliasRequest(
                db_name=database, collection_name=body.collection_name, alias=body.alias_name
            ),
        ),
        "aliases/drop": one_call(
            "DropAlias",
            wire.AliasBody,
            lambda body, database: milvus_pb2.DropAliasRequest(
                db_name=database, alias=body.alias_name
            ),
        ),
    }
)
