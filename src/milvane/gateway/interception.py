"""The interception table: which RPCs the gateway owns. All others pass as bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from milvane.gateway.calls import Call
from milvane.gateway.rpcs import collections, functions, searches, writes
from milvane.gateway.rpcs.services import Services

Rewriter = Callable[[Call, Services], Awaitable[bytes]]

REWRITTEN: Mapping[str, Rewriter] = MappingProxyType(
    {
        "CreateCollection": collections.create_collection,
        "DescribeCollection": collections.describe_collection,
        "BatchDescribeCollection": collections.batch_describe_collection,
        "AlterCollection": collections.alter_collection,
        "AlterCollectionSchema": functions.alter_collection_schema,
        "AddCollectionFunction": functions.add_collection_function,
        "AlterCollectionFunction": functions.alter_collection_function,
        "DropCollectionFunction": functions.drop_collection_function,
        "Insert": writes.insert,
        "Upsert": writes.upsert,
        "Search": searches.search,
        "HybridSearch": searches.hybrid_search,
    }
)
"""RPCs whose request or reply the gateway decodes, by short name."""

SCHEMA_CHANGING = frozenset(
    {
        "CreateCollection",
        "DropCollection",
        "RenameCollection",
        "TruncateCollection",
        "AlterCollection",
        "AlterCollectionField",
        "AlterCollectionSchema",
        "AddCollectionField",
        "AddCollectionStructField",
        "AddCollectionFunction",
        "AlterCollectionFunction",
        "DropCollectionFunction",
        "CreateAlias",
        "AlterAlias",
        "DropAlias",
        "DropDatabase",
        "RestoreSnapshot",
        "RestoreExternalSnapshot",
    }
)
"""RPCs after which what is known of collections may be wrong, by short name."""
