"""How long calls of the Milvus port take, by RPC and by what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from milvane.domain.errors import ServiceError
from milvane.instances.upstream import UpstreamStatus
from milvane.measures import Operation, Operations
from milvane.messages import milvus_pb2

DOOR = "milvus"
UNKNOWN = "unknown"

RPCS = frozenset(
    method.name
    for service in milvus_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
"""What clients may call; names that they make up are counted as one."""


@contextmanager
def measuring(operations: Operations, name: str) -> Iterator[None]:
    """Count what happens inside as one call of an RPC, given by its short name."""
    begun_s, status = time.monotonic(), "internal"
    try:
        yield
        status = "ok"
    except ServiceError as error:
        status = error.kind.value
        raise
    except UpstreamStatus as error:
        status = f"upstream {error.code.name.lower()}"
        raise
    except asyncio.CancelledError:
        status = "cancelled"
        raise
    finally:
        operation = Operation(DOOR, name if name in RPCS else UNKNOWN, status)
        operations.add(operation, time.monotonic() - begun_s)
