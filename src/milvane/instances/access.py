"""What each RPC of the Milvus protocol touches. Pure: the guard turns it into locks."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final

SERVICE: Final = "milvus.proto.milvus.MilvusService"


class Access(Enum):
    """What a call needs for itself while it runs, from nothing to everything."""

    NOTHING = "nothing"
    """Touches no stored state."""

    CATALOGUE = "catalogue"
    """Reads names, schemas and states: waits only while collections come and go."""

    READ = "read"
    """Reads the rows of one collection, beside other reads and one writer."""

    WRITE = "write"
    """Changes the rows of one collection: the only writer, beside reads."""

    FLUSH = "flush"
    """Moves rows from memory to disk, as the flusher does."""

    REBUILD = "rebuild"
    """Changes one collection as a whole: alone with it."""

    RESHAPE = "reshape"
    """Changes which collections, aliases or databases there are: alone with everything."""


_BY_ACCESS: Final = {
    Access.NOTHING: (
        "Connect",
        "AllocTimestamp",
        "GetVersion",
        "CheckHealth",
        "GetFlushState",
        "GetCompactionState",
        "ManualCompaction",
        "LoadPartitions",
        "ReleasePartitions",
    ),
    Access.CATALOGUE: (
        "HasCollection",
        "DescribeCollection",
        "ShowCollections",
        "HasPartition",
        "ShowPartitions",
        "GetLoadState",
        "GetLoadingProgress",
        "DescribeAlias",
        "ListAliases",
        "ListDatabases",
        "DescribeDatabase",
    ),
    Access.READ: (
        "Search",
        "HybridSearch",
        "Query",
        "GetCollectionStatistics",
        "GetPartitionStatistics",
        "DescribeIndex",
    ),
    Access.WRITE: ("Insert", "Upsert", "Delete"),
    Access.FLUSH: ("Flush",),
    Access.REBUILD: (
        "LoadCollection",
        "ReleaseCollection",
        "CreateIndex",
        "DropIndex",
        "AlterCollection",
        "CreatePartition",
        "DropPartition",
    ),
    Access.RESHAPE: (
        "CreateCollection",
        "DropCollection",
        "RenameCollection",
        "TruncateCollection",  # Lite opens the collection anew
        "CreateAlias",
        "DropAlias",
        "AlterAlias",
        "CreateDatabase",
        "DropDatabase",
        "AlterDatabase",
    ),
}

TABLE: Final = MappingProxyType(
    {name: access for access, names in _BY_ACCESS.items() for name in names}
)
"""RPC name -> what it touches, for every RPC that the embedded engine answers."""

_REPEATABLE: Final = frozenset({Access.NOTHING, Access.CATALOGUE, Access.READ})


def access_of(rpc: str) -> Access:
    """
    Say what an RPC touches.

    Args:
        rpc: Its name without the service.

    Returns:
        What the table says; for an RPC that the table does not know, the safe answer: everything.
    """
    return TABLE.get(rpc, Access.RESHAPE)


def is_repeatable(rpc: str) -> bool:
    """Say whether doing an RPC twice is the same as doing it once."""
    return access_of(rpc) in _REPEATABLE


def rpc_name(method: str) -> str:
    """Take the RPC's name from the path of a gRPC method."""
    return method.rpartition("/")[2]
