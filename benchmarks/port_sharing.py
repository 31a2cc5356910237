"""What it costs gRPC to share its port with REST."""

from __future__ import annotations

import tempfile
import time
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
INSERTED = 200


def measure(*, quick: bool) -> Section:
    """Compare the same calls with a port of their own, with a shared one, and over REST."""
    searches, inserts = (300, 20) if quick else (4_000, 60)
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
        found = _searches(clients, rest, vectors, searches)
        written = _inserts(clients, vectors, inserts)
    return _section(found, written)


def _searches(
    clients: dict[str, MilvusClient], rest: httpx.Client, vectors: list, count: int
) -> dict[str, list[float]]:
    """Search in turn, so that whatever else the machine does befalls all alike."""
    found: dict[str, list[float]] = {"alone": [], "shared": [], "rest": []}
    for number in range(count):
        query = vectors[number % ROWS]
        order = ("alone", "shared") if number % 2 else ("shared", "alone")
        for name in order:
            client = clients[name]
            found[name].append(
                timed_s(
                    lambda client=client, query=query: client.search("small", [query], limit=10)
                )
            )
        body = {"collectionName": "small", "data": [query], "limit": 10}
        found["rest"].append(
            timed_s(lambda body=body: rest.post("/v2/vectordb/entities/search", json=body))
        )
    return {name: durations[count // 10 :] for name, durations in found.items()}


def _inserts(clients: dict[str, MilvusClient], vectors: list, count: int) -> dict[str, list[float]]:
    """Upsert many rows in turn: messages that do not fit into one chunk."""
    rows = [{"id": number, "vector": vectors[number]} for number in range(INSERTED)]
    written: dict[str, list[float]] = {"alone": [], "shared": []}
    for number in range(count):
        order = ("alone", "shared") if number % 2 else ("shared", "alone")
        for name in order:
            client = clients[name]
            written[name].append(timed_s(lambda client=client: client.upsert("small", rows)))
    return written


def _section(found: dict[str, list[float]], written: dict[str, list[float]]) -> Section:
    rows = []
    for work, durations in (("search", found), (f"upsert of {INSERTED} rows", written)):
        alone, shared = quantiles_ms(durations["alone"]), quantiles_ms(durations["shared"])
        for place, quantile in enumerate(("p50", "p99")):
            before, after = alone[place], shared[place]
            ratio = f"{after / before:.3f}"
            rows.append([f"{work}, {quantile} ms", f"{before:.2f}", f"{after:.2f}", ratio])
    pairs = np.asarray(found["shared"]) - np.asarray(found["alone"])
    median_us = float(np.median(pairs) * 1e6)
    share = median_us / 10 / quantiles_ms(found["alone"])[0]
    rest = quantiles_ms(found["rest"])
    return Section(
        title="One port for gRPC and REST",
        question="What does it cost a gRPC call that REST is served on its port? Two servers, one "
        "with `gateway.rest = false`; the same calls to both in turn, one client each; "
        f"{ROWS:,} vectors of {DIMENSION} dimensions in Milvus Lite.",
        columns=["work", "gRPC alone", "shared port", "ratio"],
        rows=rows,
        notes=[
            f"The median of the differences of neighbouring searches is {median_us:.0f} µs, "
            f"{share:.1f} % of a search. The same search over REST takes {rest[0]:.2f} ms at the "
            f"median (p99 {rest[1]:.2f} ms): it describes the collection first."
        ],
    )
