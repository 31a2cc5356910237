"""Memory over an hour of mixed work, paced: what is looked for is growth, not speed."""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
from pymilvus import DataType, Function, FunctionType, MilvusClient

from benchmarks.corpus import skewed_texts
from benchmarks.report import Plot, Section
from milvane.testing.servers import MilvaneProcess

PAUSE_S = 1.5
"""Between rounds, in the mean."""
ROWS = 20
KEEP_ROWS = 4_000
"""Rows of the collection; older ones are deleted as new ones come."""


def create(client: MilvusClient) -> None:
    """Make a collection whose text is embedded by the server."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=9000)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    schema.add_function(
        Function(
            name="embed",
            function_type=FunctionType.TEXTEMBEDDING,
            input_field_names=["text"],
            output_field_names=["dense"],
            params={"provider": "aliyun_milvus", "model_name": "text-embedding-v4"},
        )
    )
    index = client.prepare_index_params()
    index.add_index(field_name="dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("soak", schema=schema, index_params=index)


def work(client: MilvusClient, http: httpx.Client, number: int) -> None:
    """Insert, search, delete, and embed over HTTP: each text is a new one."""
    fresh = skewed_texts(ROWS + 4, seed=number)
    first = number * ROWS
    rows = [{"id": first + place, "text": text} for place, text in enumerate(fresh[:ROWS])]
    client.insert("soak", rows)
    client.search("soak", data=[fresh[-1]], anns_field="dense", limit=5)
    if first >= KEEP_ROWS:
        old = first - KEEP_ROWS
        client.delete("soak", ids=list(range(old, old + ROWS)))
    for text in fresh[ROWS:]:
        body = {"model": "text-embedding-v4", "input": f"{number} {text}"}
        http.post("/v1/embeddings", json=body).raise_for_status()


def memory_mb(server: MilvaneProcess) -> tuple[float, float]:
    """Say what the server holds, and what its other processes hold."""
    process = psutil.Process(server.process.pid)
    children = process.children(recursive=True)
    return process.memory_info().rss / 1e6, sum(each.memory_info().rss for each in children) / 1e6


def soak(minutes: int) -> list[tuple[float, float, int]]:
    """Work for so long; returns the memory of both and the rounds done, at each minute's end."""
    found, rounds = [], 0
    pauses = random.Random(0)
    with (
        tempfile.TemporaryDirectory() as data,
        MilvaneProcess(Path(data) / "data") as server,
        httpx.Client(base_url=server.http_url, timeout=60) as http,
    ):
        client = MilvusClient(server.grpc_uri)
        create(client)
        for minute in range(minutes):
            until = time.monotonic() + 60
            while time.monotonic() < until:
                work(client, http, rounds)
                rounds += 1
                time.sleep(PAUSE_S * 2 * pauses.random())
            found.append((*memory_mb(server), rounds))
            print(f"{minute + 1:3} min  {found[-1]}", flush=True)
        client.close()
    return found


def slope(values: list[float]) -> float:
    """Say how much a series of minutes grows in an hour, by its least-squares line."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0] * 60)


def measure(*, quick: bool) -> Section:
    """Work for an hour, or as many minutes as `MILVANE_BENCHMARK_MINUTES` says."""
    minutes = int(os.environ.get("MILVANE_BENCHMARK_MINUTES", "2" if quick else "60"))
    return describe(soak(minutes), minutes)


def describe(found: list[tuple[float, float, int]], minutes: int) -> Section:
    """Say what was found."""
    tenths = [place for place in range(len(found)) if (place + 1) % max(len(found) // 6, 1) == 0]
    last = found[-max(len(found) // 5, 2) :]
    return Section(
        title="Memory over time",
        question=f"Does the default server grow? {minutes} minutes of inserts, searches, deletes "
        f"and embeddings of new texts; the collection keeps {KEEP_ROWS:,} rows.",
        columns=["minute", "server, MB", "embedded Milvus Lite, MB", "rounds"],
        rows=[
            [f"{place + 1}", *(f"{v:,.0f}" for v in found[place][:2]), f"{found[place][2]:,}"]
            for place in tenths
        ],
        notes=[
            "The server grows until its cache of vectors in memory is full "
            "(`cache.max_memory_bytes`). In the last fifth its line grows by "
            f"{slope([each[0] for each in last]):+,.0f} MB an hour, Milvus Lite's by "
            f"{slope([each[1] for each in last]):+,.0f}. A round is {ROWS} inserted rows, one "
            "search, as many deleted rows, and four requests over HTTP; rounds are paced.",
        ],
        plots=[
            Plot(
                "soak",
                "Resident memory",
                "MB",
                [f"{place + 1} min" for place in tenths],
                {
                    "server": [found[place][0] for place in tenths],
                    "Milvus Lite": [found[place][1] for place in tenths],
                },
            )
        ],
    )
