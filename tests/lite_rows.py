"""A client of the Lite process that knows which rows there must be: one task, no retries."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from numpy.typing import NDArray
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.instances.access import SERVICE
from milvane.instances.lite.supervisor import LiteInstance
from milvane.instances.settings import LiteSettings
from milvane.instances.upstream import Upstream

DIMENSION = 16
SMALL = LiteSettings(
    flush_max_rows=60,
    flush_idle_s=0.2,
    index_min_rows=150,
    wait_for_restart_s=10,
    restart_backoff_max_s=0.2,
)
"""Settings with which flushes, merges and index builds happen all the time."""


class Refused(Exception):
    """Milvus answered, and said no."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def vector_of(row_id: int) -> NDArray[np.float32]:
    """Say which vector a row has; no two rows have the same."""
    vector = np.random.default_rng(row_id).normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


async def until(condition: Callable[[], object], patience_s: float = 20) -> None:
    """Wait for another process to have done what it does in the background."""
    with anyio.fail_after(patience_s):
        while not condition():  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(0.05)


class LiteClient:
    """Calls one collection or another through an upstream."""

    def __init__(self, upstream: Upstream, *, database: str = "") -> None:
        self._upstream = upstream
        self._metadata = (("dbname", database),) if database else ()

    async def call(self, rpc: str, response_type: Any, request: Any) -> Any:
        """Make a call, and raise what its status says."""
        response = response_type.FromString(
            await self._upstream.call(
                f"/{SERVICE}/{rpc}", request.SerializeToString(), metadata=self._metadata
            )
        )
        status = getattr(response, "status", response)
        if status.code or status.error_code:
            raise Refused(status.code, status.reason)
        return response

    async def change(self, rpc: str, request: Any) -> None:
        """Make a call that is answered with a status alone."""
        await self.call(rpc, common_pb2.Status, request)

    async def create(
        self, name: str, *, index: str | None = "AUTOINDEX", auto: bool = False
    ) -> None:
        """Create a collection of ids and vectors, indexed and loaded."""
        fields = [
            schema_pb2.FieldSchema(
                name="id", data_type=schema_pb2.DataType.Int64, is_primary_key=True, autoID=auto
            ),
            schema_pb2.FieldSchema(
                name="vector",
                data_type=schema_pb2.DataType.FloatVector,
                type_params=[common_pb2.KeyValuePair(key="dim", value=str(DIMENSION))],
            ),
        ]
        schema = schema_pb2.CollectionSchema(name=name, fields=fields)
        await self.change(
            "CreateCollection",
            milvus_pb2.CreateCollectionRequest(
                collection_name=name, schema=schema.SerializeToString()
            ),
        )
        if index is not None:
            await self.create_index(name, index)
            await self.load(name)

    async def create_index(self, name: str, index_type: str, field: str = "vector") -> None:
        """Put an index on the vectors, or on another field."""
        pairs = {"index_type": index_type}
        if field == "vector":
            pairs["metric_type"] = "COSINE"
        await self.change(
            "CreateIndex",
            milvus_pb2.CreateIndexRequest(
                collection_name=name,
                field_name=field,
                extra_params=[common_pb2.KeyValuePair(key=k, value=v) for k, v in pairs.items()],
            ),
        )

    async def load(self, name: str) -> None:
        """Load a collection."""
        await self.change("LoadCollection", milvus_pb2.LoadCollectionRequest(collection_name=name))

    async def release(self, name: str) -> None:
        """Release a collection."""
        await self.change(
            "ReleaseCollection", milvus_pb2.ReleaseCollectionRequest(collection_name=name)
        )

    async def insert(self, name: str, ids: Sequence[int], *, with_ids: bool = True) -> list[int]:
        """Insert rows; returns the ids that were acknowledged."""
        vectors = np.concatenate([vector_of(row_id) for row_id in ids])
        columns = [
            schema_pb2.FieldData(
                type=schema_pb2.DataType.FloatVector,
                field_name="vector",
                vectors=schema_pb2.VectorField(
                    dim=DIMENSION, float_vector=schema_pb2.FloatArray(data=vectors)
                ),
            )
        ]
        if with_ids:
            columns.append(
                schema_pb2.FieldData(
                    type=schema_pb2.DataType.Int64,
                    field_name="id",
                    scalars=schema_pb2.ScalarField(long_data=schema_pb2.LongArray(data=ids)),
                )
            )
        request = milvus_pb2.InsertRequest(
            collection_name=name, fields_data=columns, num_rows=len(ids)
        )
        result = await self.call("Insert", milvus_pb2.MutationResult, request)
        return list(result.IDs.int_id.data)

    async def delete(self, name: str, expression: str) -> None:
        """Delete the rows that an expression picks."""
        request = milvus_pb2.DeleteRequest(collection_name=name, expr=expression)
        await self.call("Delete", milvus_pb2.MutationResult, request)

    async def flush(self, name: str) -> None:
        """Move rows to disk."""
        request = milvus_pb2.FlushRequest(collection_names=[name])
        await self.call("Flush", milvus_pb2.FlushResponse, request)

    async def count(self, name: str) -> int:
        """Count the rows."""
        return int((await self._query(name, "", ["count(*)"]))[0])

    async def ids(self, name: str, expression: str = "id >= 0") -> list[int]:
        """List the ids of rows, as often as each is there, in order."""
        return sorted(await self._query(name, expression, ["id"]))

    async def search(self, name: str, row_id: int, limit: int = 10, **more: str) -> list[int]:
        """Search with a row's own vector; returns ids, nearest first."""
        group = common_pb2.PlaceholderGroup(
            placeholders=[
                common_pb2.PlaceholderValue(
                    tag="$0",
                    type=common_pb2.PlaceholderType.FloatVector,
                    values=[struct.pack(f"<{DIMENSION}f", *vector_of(row_id))],
                )
            ]
        )
        pairs = {"anns_field": "vector", "topk": str(limit), "params": "{}", **more}
        request = milvus_pb2.SearchRequest(
            collection_name=name,
            placeholder_group=group.SerializeToString(),
            dsl_type=common_pb2.DslType.BoolExprV1,
            search_params=[common_pb2.KeyValuePair(key=k, value=v) for k, v in pairs.items()],
            nq=1,
        )
        response = await self.call("Search", milvus_pb2.SearchResults, request)
        return list(response.results.ids.int_id.data)

    async def _query(self, name: str, expression: str, fields: Iterable[str]) -> list[int]:
        request = milvus_pb2.QueryRequest(
            collection_name=name, expr=expression, output_fields=list(fields)
        )
        response = await self.call("Query", milvus_pb2.QueryResults, request)
        return list(response.fields_data[0].scalars.long_data.data) if response.fields_data else []


@asynccontextmanager
async def running_lite(
    data_dir: Path, settings: LiteSettings = SMALL
) -> AsyncIterator[tuple[LiteInstance, LiteClient]]:
    """Run an instance, with a client of its default database."""
    patience_s = settings.wait_for_restart_s
    async with (
        LiteInstance(settings, data_dir) as lite,
        Upstream(lite, wait_for_restart_s=patience_s) as upstream,
    ):
        yield lite, LiteClient(upstream)
