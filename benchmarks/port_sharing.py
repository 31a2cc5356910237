"""What it costs gRPC to share its port with REST, and to be encrypted."""

from __future__ import annotations

import subprocess
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
    """Compare the same calls with a port of their own, a shared one, with TLS, and over REST."""
    searches, upserts = (300, 20) if quick else (3_000, 60)
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIMENSION)).tolist()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        certificate, key = _certificate(Path(folder))
        environments = {
            "alone": {"MILVANE_GATEWAY__REST": "false"},
            "shared": {},
            "secured": {"MILVANE_TLS__CERTIFICATE": certificate, "MILVANE_TLS__PRIVATE_KEY": key},
        }
        servers = {
            name: stack.enter_context(MilvaneProcess(Path(folder) / name, environment=environment))
            for name, environment in environments.items()
        }
        trust = {"secured": {"secure": True, "server_pem_path": certificate}}
        clients = {
            name: MilvusClient(uri=server.grpc_uri, **trust.get(name, {}))
            for name, server in servers.items()
        }
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
    """Call all in turn, so that whatever else the machine does befalls all alike."""
    durations: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(count):
        order = list(clients)[number % 3 :] + list(clients)[: number % 3]
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


def _certificate(folder: Path) -> tuple[str, str]:
    """Make a certificate of this machine that signs itself."""
    certificate, key = folder / "server.crt", folder / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return str(certificate), str(key)


def _pair_us(durations: dict[str, list[float]], one: str, other: str) -> str:
    differences = np.asarray(durations[one]) - np.asarray(durations[other])
    return f"{np.median(differences) * 1e6:.0f}"


def _section(works: dict[str, dict[str, list[float]]], over_rest: list[float]) -> Section:
    rows = []
    for work, durations in works.items():
        taken = {name: quantiles_ms(each) for name, each in durations.items()}
        for place, quantile in enumerate(("p50", "p99")):
            shown = [f"{taken[name][place]:.3f}" for name in ("alone", "shared", "secured")]
            pairs = ["", ""]
            if quantile == "p50":
                pairs = [
                    _pair_us(durations, "shared", "alone"),
                    _pair_us(durations, "secured", "shared"),
                ]
            rows.append([f"{work}, {quantile} ms", *shown, *pairs])
    rest = quantiles_ms(over_rest)
    return Section(
        title="One port for gRPC and REST",
        question="What does it cost a gRPC call that REST is served on its port, and TLS? Three "
        "servers: with `gateway.rest = false`, as it comes, and with `tls.certificate`; the "
        "same calls to all in turn, one client each; "
        f"{ROWS:,} vectors of {DIMENSION} dimensions in Milvus Lite.",
        columns=[
            "work",
            "gRPC alone",
            "shared port",
            "shared port with TLS",
            "sharing costs, µs",
            "TLS costs, µs",
        ],
        rows=rows,
        notes=[
            "What sharing and TLS cost is the median difference of two equal calls, one right "
            "after the other: less disturbed by the machine than the medians are.",
            f"The same search over REST takes {rest[0]:.2f} ms at the median (p99 {rest[1]:.2f} "
            "ms): one call to the engine, and JSON both ways.",
        ],
    )
