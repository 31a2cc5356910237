"""What it costs gRPC to share its port with REST."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
from pymilvus import MilvusClient

from benchmarks.report import Section
from benchmarks.timing import quantiles_ms, timed_s
from milvane.testing.servers import MilvaneProcess

DIMENSION = 128
ROWS = 1_000
WRITTEN = 200


def measure(*, quick: bool) -> Section:
    """Compare the same calls with a port of their own, with a shared one, and over REST."""
    searches, upserts = (300, 20) if quick else (4_000, 60)
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIMENSION)).tolist()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                MilvaneProcess(Path(folder) / name, environment={"MILVANE_GATEWAY__REST": rest})
            )
            for name, rest in (("alone", "false"), ("shared", "true"))
        }
        clients = {name: MilvusClient(uri=server.grpc_uri) for name, server in servers.items()}
        for client in clients.values():
            client.create_collection("small", dimension=DIMENSION)
            rows = [{"id": number, "vector": vector} for number, vector in enumerate(vectors)]
            client.insert("small", rows)
            stack.callback(client.close)
        rest = stack.enter_context(httpx.Client(base_url=servers["shared"].grpc_uri))
        time.sleep(3)  # the engine's own idle flush
        queries = [[vector] for vector in vectors]
        rows = [{"id": number, "vector": vectors[number]} for number in range(WRITTEN)]
        works = {
            "version": _in_turn(clients, lambda client, _: client.get_server_version(), searches),
            "search": _in_turn(
                clients,
                lambda client, number: client.search("small", queries[number % ROWS], limit=10),
                searches,
            ),
            f"upsert of {WRITTEN} rows": _in_turn(
                clients, lambda client, _: client.upsert("small", rows), upserts
            ),
        }
        over_rest = _over_rest(rest, queries, searches // 4)
    return _section(works, over_rest)


def _in_turn(
    clients: dict[str, MilvusClient],
    call: Callable[[MilvusClient, int], object],
    count: int,
) -> dict[str, list[float]]:
    """Call both in turn, so that whatever else the machine does befalls both alike."""
    durations: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(count):
        order = list(clients) if number % 2 else list(reversed(clients))
        for name in order:
            client = clients[name]
            durations[name].append(
                timed_s(lambda client=client, number=number: call(client, number))
            )
    return {name: taken[count // 10 :] for name, taken in durations.items()}


def _over_rest(rest: httpx.Client, queries: list, count: int) -> list[float]:
    durations = []
    for number in range(count):
        body = {"collectionName": "small", "data": queries[number % ROWS], "limit": 10}
        durations.append(
            timed_s(lambda body=body: rest.post("/v2/vectordb/entities/search", json=body))
        )
    return durations[count // 10 :]


def _section(works: dict[str, dict[str, list[float]]], over_rest: list[float]) -> Section:
    rows = []
    for work, durations in works.items():
        alone, shared = quantiles_ms(durations["alone"]), quantiles_ms(durations["shared"])
        pairs = np.asarray(durations["shared"]) - np.asarray(durations["alone"])
        for place, quantile in enumerate(("p50", "p99")):
            before, after = alone[place], shared[place]
            pair = f"{np.median(pairs) * 1e6:.0f}" if quantile == "p50" else ""
            ratio = f"{after / before:.3f}"
            rows.append([f"{work}, {quantile} ms", f"{before:.3f}", f"{after:.3f}", ratio, pair])
    rest = quantiles_ms(over_rest)
    return Section(
        title="One port for gRPC and REST",
        question="What does it cost a gRPC call that REST is served on its port? Two servers, one "
        "with `gateway.rest = false`; the same calls to both in turn, one client each; "
        f"{ROWS:,} vectors of {DIMENSION} dimensions in Milvus Lite.",
        columns=["work", "gRPC alone", "shared port", "ratio", "median difference of a pair, µs"],
        rows=rows,
        notes=[
            "A pair is the same call to both, one right after the other: its difference is what "
            "carrying the bytes costs, less disturbed by the machine than the medians are.",
            f"The same search over REST takes {rest[0]:.2f} ms at the median (p99 {rest[1]:.2f} "
            "ms): one call to the engine, and JSON both ways.",
        ],
    )
