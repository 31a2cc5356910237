"""How long reads of the embedded engine wait for the flushes beside them."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from benchmarks.report import Section
from milvane.instances.settings import LiteSettings

DIMENSION = 1024
BATCH = 100
WRITERS = 2
READERS = [(1, 10), (1, 10), (1, 10), (40, 1_000)]
"""Queries of each search, and its limit."""
SERVICE = "/milvus.proto.milvus.MilvusService/"

Answer = Callable[[str, bytes, tuple[()]], Awaitable[bytes]]


def measure(*, quick: bool) -> Section:
    """Insert at the default settings, search beside it, and take the time at the gates."""
    rows = 4_000 if quick else 30_000
    # As in the engine's own process (`process.main`), where Milvus Lite never flushes by itself.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES"] = str(1 << 62)
    os.environ["MILVUS_LITE_WAL_SIZE_LIMIT_BYTES"] = str(1 << 62)
    probe = Probe()
    with tempfile.TemporaryDirectory() as folder:
        searches = asyncio.run(_run(Path(folder), rows, probe))
    return _section(rows, searches, probe)


class Probe:
    """Takes the time that reads spend where a flush might hold them up."""

    def __init__(self) -> None:
        self.gates: list[float] = []
        """Seconds at a gate beside a write or a flush, of each read."""
        self.views: list[float] = []
        """Seconds until a read had its view, the wait for locks and the making included."""
        self.works: list[float] = []
        """Seconds of these that it worked itself."""
        self.changes: list[float] = []
        """Seconds of each flush's last step, from the manifest to the exchange."""
        self.exchanges: list[float] = []
        """Seconds of each exchange, of a flush or a merge: of it a new view may have to wait."""

    def attach(self) -> None:
        """Stand between callers and what they call from now on."""
        from milvane.instances.lite import checkpoint
        from milvane.instances.lite.exchange import Exchange
        from milvane.instances.lite.gates import Gate, Passage
        from milvane.instances.lite.locks import Hold
        from milvane.instances.lite.views import Views

        enter = Gate.enter

        async def timed_enter(gate: Gate, hold: Hold) -> Passage:
            begun_s, is_free = time.perf_counter(), gate.has_only_readers
            passage = await enter(gate, hold)
            if hold is Hold.SHARED and not is_free:
                self.gates.append(time.perf_counter() - begun_s)
            return passage

        Gate.enter = timed_enter
        Views.look = _timed(_timed(Views.look, self.works, time.thread_time), self.views)
        checkpoint.commit = _timed(checkpoint.commit, self.changes)
        Exchange.take_effect = _timed(Exchange.take_effect, self.exchanges)


def _timed(
    work: Callable[..., Any],
    durations: list[float],
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[..., Any]:
    def timed(*args: Any) -> Any:
        begun_s = clock()
        result = work(*args)
        durations.append(clock() - begun_s)
        return result

    return timed


async def _run(folder: Path, rows: int, probe: Probe) -> int:
    from milvane.instances.lite.engine import Engine
    from milvane.instances.lite.guard import Guard
    from milvane.instances.lite.process import _TURN_S
    from milvane.instances.lite.server import Calls

    sys.setswitchinterval(_TURN_S)
    gc.freeze()
    probe.attach()
    settings = LiteSettings()
    engine = Engine(folder, fsync=False, index_min_rows=settings.index_min_rows)
    done, searches = asyncio.Event(), [0]

    async def search(answer: Answer, queries: int, limit: int) -> None:
        request = _search(queries, limit)
        while not done.is_set():
            reply = milvus_pb2.SearchResults.FromString(
                await answer(SERVICE + "Search", request, ())
            )
            if reply.status.code:
                raise RuntimeError(reply.status.reason)
            searches[0] += 1

    async def insert(answer: Answer, writer: int) -> None:
        for first in range(writer * BATCH, rows, WRITERS * BATCH):
            await answer(SERVICE + "Insert", _insert(first), ())

    with ThreadPoolExecutor(settings.worker_threads) as threads:
        guard = Guard(engine, settings, threads)
        flushing = asyncio.create_task(guard.flusher.run())
        answer = Calls(guard, threads).answer
        await answer(SERVICE + "CreateCollection", _creation(), ())
        readers = [asyncio.create_task(search(answer, *each)) for each in READERS]
        await asyncio.gather(*(insert(answer, writer) for writer in range(WRITERS)))
        done.set()
        await asyncio.gather(*readers)
        flushing.cancel()
    engine.close()
    return searches[0]


def _creation() -> bytes:
    size = [common_pb2.KeyValuePair(key="dim", value=str(DIMENSION))]
    fields = [
        schema_pb2.FieldSchema(name="id", data_type=schema_pb2.Int64, is_primary_key=True),
        schema_pb2.FieldSchema(name="v", data_type=schema_pb2.FloatVector, type_params=size),
    ]
    schema = schema_pb2.CollectionSchema(name="rows", fields=fields)
    request = milvus_pb2.CreateCollectionRequest(
        collection_name="rows", schema=schema.SerializeToString()
    )
    return request.SerializeToString()


def _insert(first: int) -> bytes:
    vectors = np.random.default_rng(first).random(BATCH * DIMENSION, dtype=np.float32)
    ids = schema_pb2.LongArray(data=range(first, first + BATCH))
    columns = [
        schema_pb2.FieldData(
            type=schema_pb2.Int64, field_name="id", scalars=schema_pb2.ScalarField(long_data=ids)
        ),
        schema_pb2.FieldData(
            type=schema_pb2.FloatVector,
            field_name="v",
            vectors=schema_pb2.VectorField(
                dim=DIMENSION, float_vector=schema_pb2.FloatArray(data=vectors)
            ),
        ),
    ]
    request = milvus_pb2.InsertRequest(collection_name="rows", fields_data=columns, num_rows=BATCH)
    return request.SerializeToString()


def _search(queries: int, limit: int) -> bytes:
    vectors = np.random.default_rng(1).random((queries, DIMENSION), dtype=np.float32)
    placeholder = common_pb2.PlaceholderValue(
        tag="$0",
        type=common_pb2.PlaceholderType.FloatVector,
        values=[vector.tobytes() for vector in vectors],
    )
    group = common_pb2.PlaceholderGroup(placeholders=[placeholder])
    pairs = {"anns_field": "v", "topk": str(limit), "params": "{}", "metric_type": "COSINE"}
    request = milvus_pb2.SearchRequest(
        collection_name="rows",
        placeholder_group=group.SerializeToString(),
        dsl_type=common_pb2.DslType.BoolExprV1,
        output_fields=["id"],
        search_params=[common_pb2.KeyValuePair(key=k, value=v) for k, v in pairs.items()],
        nq=queries,
    )
    return request.SerializeToString()


def _section(rows: int, searches: int, probe: Probe) -> Section:
    table = []
    for what, seconds in (
        ("read at its gate, beside a write or a flush", probe.gates),
        ("read getting its view of the rows", probe.views),
        ("of this, work of its own on the processor", probe.works),
        ("last step of a flush, its manifest included", probe.changes),
        ("exchange of memory and segments, by a flush or a merge", probe.exchanges),
    ):
        taken = np.asarray(seconds or [0.0]) * 1e3
        cells = [f"{value:.2f}" for value in (*np.quantile(taken, [0.5, 0.99]), taken.max())]
        table.append([what, f"{len(seconds):,}", *cells, f"{int((taken > 50).sum()):,}"])
    return Section(
        title="Reads beside flushes",
        question="How long do reads of the embedded engine wait for a flush? "
        f"{rows:,} rows of {DIMENSION} dimensions, {BATCH} an insert from {WRITERS} clients, "
        "default settings; beside it three clients search for the top 10, and one for the top "
        f"1,000 of 40 queries at once: {searches:,} searches.",
        columns=["what", "times", "p50 ms", "p99 ms", "longest ms", "over 50 ms"],
        rows=table,
        notes=[
            "A read waits for a flush or a merge at most while its view is made, and only if rows "
            "have come since the view before: then for the exchange, not for disk or manifest. The "
            "rest of that time is its own work, and what the machine gives to others.",
            f"The machine's load was {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores.",
        ],
    )
