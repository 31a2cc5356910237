"""The embedded engine beside untouched Milvus Lite: the same work, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient

from benchmarks.report import Plot, Section
from benchmarks.timing import quantiles_ms, timed_s
from milvane.testing.servers import MilvaneProcess

DIMENSION = 1024
BATCH = 500
CLIENTS = 4
TRICKLE_ROWS = 20
TRICKLE_PAUSE_S = 0.1
LONGEST_WAIT_S = 60
BARE = Path(__file__).parent.parent / "tests" / "conformance" / "scripts" / "bare_lite.py"
NAME = "rows"


@dataclass
class Figures:
    """What one engine took, by number of rows where it depends on it."""

    insert_per_s: dict[int, float] = field(default_factory=dict)
    slowest_batch_s: dict[int, float] = field(default_factory=dict)
    indexed_after_s: dict[int, float] = field(default_factory=dict)
    search_ms: dict[int, tuple[float, float]] = field(default_factory=dict)
    filtered_ms: dict[int, tuple[float, float]] = field(default_factory=dict)
    per_s: dict[int, float] = field(default_factory=dict)
    busy_ms: dict[int, tuple[float, float]] = field(default_factory=dict)
    memory_gb: dict[int, float] = field(default_factory=dict)
    restart_s: dict[int, float] = field(default_factory=dict)


@dataclass
class Engine:
    """A running engine."""

    uri: str
    lite_pid: Callable[[], int]
    """The process that holds the rows."""
    restart: Callable[[], float]
    """Stops the engine and starts it; returns the seconds from the start until it is searchable."""


def clustered_vectors(count: int) -> NDArray[np.float32]:
    """Make unit vectors around some centres, as embeddings of texts are."""
    chance = np.random.default_rng(0)
    centres = chance.standard_normal((200, DIMENSION), dtype=np.float32)
    vectors = np.empty((count, DIMENSION), dtype=np.float32)
    for start in range(0, count, 10_000):
        part = vectors[start : start + 10_000]
        part[:] = centres[chance.integers(len(centres), size=len(part))]
        part += chance.standard_normal(part.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@contextmanager
def milvane(folder: Path) -> Iterator[Engine]:
    """Run `milvane serve`; clients go through its gateway."""
    with MilvaneProcess(folder / "ours") as server:

        def child() -> int:
            pid = server.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            command = "milvane.instances.lite.process"
            return next(
                int(each)
                for each in children
                if command in Path(f"/proc/{each}/cmdline").read_text()
            )

        def restart() -> float:
            server.terminate()
            return timed_s(server.start)

        yield Engine(server.grpc_uri, child, restart)


@contextmanager
def bare_lite(folder: Path) -> Iterator[Engine]:
    """Run Milvus Lite's own server, as its package has it."""

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, BARE, folder / "bare"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return process, f"http://127.0.0.1:{process.stdout.readline().strip()}"

    def stop(process: subprocess.Popen[str]) -> None:
        process.stdin.close()
        process.wait()

    running, uri = start()

    def restart() -> float:
        nonlocal running
        stop(running)
        begun = time.perf_counter()
        running, address = start()
        client = MilvusClient(uri=address)
        client.load_collection(NAME)  # it opens released
        client.close()
        return time.perf_counter() - begun

    try:
        yield Engine(uri, lambda: running.pid, restart)
    finally:
        stop(running)


def create(client: MilvusClient) -> None:
    """Make the collection: ids, a number to filter by, a short text, vectors."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("shelf", DataType.INT64)
    schema.add_field("title", DataType.VARCHAR, max_length=100)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection(NAME, schema=schema, index_params=index)


def rows(vectors: NDArray[np.float32], start: int, count: int) -> list[dict]:
    """Make rows; those beyond the vectors there are use some again."""
    return [
        {"id": i, "shelf": i % 100, "title": f"row {i}", "vector": vectors[i % len(vectors)]}
        for i in range(start, start + count)
    ]


def fill(client: MilvusClient, vectors: NDArray[np.float32], start: int, end: int) -> list[float]:
    """Insert rows; return the seconds of each batch."""
    batches = []
    for first in range(start, end, BATCH):
        batch = rows(vectors, first, BATCH)
        batches.append(timed_s(lambda batch=batch: client.insert(NAME, batch)))
    return batches


def searches_s(
    client: MilvusClient, queries: NDArray[np.float32], seconds: float, expression: str = ""
) -> list[float]:
    """Search one query after the other for some seconds; return how long each took."""
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        query = queries[len(durations) % len(queries)].tolist()
        durations.append(
            timed_s(
                lambda query=query: client.search(
                    NAME, [query], expression, 10, output_fields=["title"]
                )
            )
        )
    return durations


def wait_until_idle(engine: Engine) -> float:
    """Wait until the engine does nothing by itself any more; return the seconds it took."""
    begun = time.perf_counter()
    pid, quiet = engine.lite_pid(), 0
    while quiet < 3 and time.perf_counter() - begun < LONGEST_WAIT_S:
        before = processor_s(pid)
        time.sleep(1)
        quiet = quiet + 1 if processor_s(pid) - before < 0.05 else 0
    return time.perf_counter() - begun


def processor_s(pid: int) -> float:
    """Say how many seconds of processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def searches_per_s(uri: str, queries: NDArray[np.float32], seconds: float) -> float:
    """Search from several processes' worth of clients; return searches a second."""
    script = (
        "import sys, time, numpy as np; from pymilvus import MilvusClient\n"
        "uri, seconds, path = sys.argv[1], float(sys.argv[2]), sys.argv[3]\n"
        "queries = np.load(path).tolist(); client = MilvusClient(uri=uri); n = 0\n"
        "print('ready', flush=True); sys.stdin.readline(); end = time.time() + seconds\n"
        "while time.time() < end:\n"
        f"    client.search({NAME!r}, [queries[n % len(queries)]], limit=10,"
        " output_fields=['title']); n += 1\n"
        "print(n)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.npy"
        np.save(path, queries)
        clients = [
            subprocess.Popen(
                [sys.executable, "-c", script, uri, str(seconds), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(CLIENTS)
        ]
        for each in clients:
            each.stdout.readline()
        for each in clients:
            each.stdin.write("go\n")
            each.stdin.flush()
        counts = [int(each.communicate()[0]) for each in clients]
    return sum(counts) / seconds


@contextmanager
def trickle(uri: str, vectors: NDArray[np.float32], start: int) -> Iterator[None]:
    """Insert 200 rows a second beside what is done within."""
    stop = threading.Event()

    def write() -> None:
        client = MilvusClient(uri=uri)
        first = start
        while not stop.wait(TRICKLE_PAUSE_S):
            client.insert(NAME, rows(vectors, first, TRICKLE_ROWS))
            first += TRICKLE_ROWS
        client.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def resident_gb(pid: int) -> float:
    """Say how much memory of its own a process has now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1e6
    return float("nan")


def measure_engine(
    engine: Engine, vectors: NDArray[np.float32], sizes: list[int], seconds: float
) -> Figures:
    """Fill one engine step by step, and search at each size."""
    figures = Figures()
    client = MilvusClient(uri=engine.uri)
    create(client)
    queries = vectors[:: max(1, len(vectors) // 256)][:256] + np.float32(0.01)
    start = 0
    for size in sizes:
        batches = fill(client, vectors, start, size)
        figures.insert_per_s[size] = (size - start) / sum(batches)
        figures.slowest_batch_s[size] = max(batches)
        client.flush(NAME)
        figures.indexed_after_s[size] = wait_until_idle(engine)
        figures.search_ms[size] = quantiles_ms(searches_s(client, queries, seconds))
        figures.filtered_ms[size] = quantiles_ms(searches_s(client, queries, seconds, "shelf < 50"))
        figures.per_s[size] = searches_per_s(engine.uri, queries, seconds)
        figures.memory_gb[size] = resident_gb(engine.lite_pid())
        with trickle(engine.uri, vectors, 10 * max(sizes)):
            figures.busy_ms[size] = quantiles_ms(searches_s(client, queries, 2 * seconds))
        client.delete(NAME, filter=f"id >= {10 * max(sizes)}")
        client.flush(NAME)
        start = size
    client.close()
    figures.restart_s[sizes[-1]] = engine.restart()
    return figures


def measure(*, quick: bool) -> Section:
    """Compare both engines at two sizes."""
    sizes = [2_000] if quick else [20_000, 100_000]
    vectors = clustered_vectors(max(sizes))
    found: dict[str, Figures] = {}
    for name, start in (("Milvane", milvane), ("Milvus Lite", bare_lite)):
        with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as engine:
            found[name] = measure_engine(engine, vectors, sizes, 1 if quick else 3)
    return _section(sizes, found["Milvane"], found["Milvus Lite"])


def _section(sizes: list[int], ours: Figures, bare: Figures) -> Section:
    table = []
    for size in sizes:
        label = f"{size:,}"

        def row(what: str, before: float, after: float, label: str = label) -> None:
            table.append([label, what, f"{before:,.4g}", f"{after:,.4g}", f"{after / before:.3g}"])

        row("insert, rows/s", bare.insert_per_s[size], ours.insert_per_s[size])
        row("slowest batch, s", bare.slowest_batch_s[size], ours.slowest_batch_s[size])
        for what, figures in (
            ("search", "search_ms"),
            ("search with filter", "filtered_ms"),
            ("search while inserting", "busy_ms"),
        ):
            for place, quantile in enumerate(("p50", "p99")):
                row(
                    f"{what}, {quantile} ms",
                    getattr(bare, figures)[size][place],
                    getattr(ours, figures)[size][place],
                )
        row(f"searches/s, {CLIENTS} clients", bare.per_s[size], ours.per_s[size])
        row("idle after the last insert, s", bare.indexed_after_s[size], ours.indexed_after_s[size])
        row("resident memory, GB", bare.memory_gb[size], ours.memory_gb[size])
        if size in ours.restart_s:
            row("restart to searchable, s", bare.restart_s[size], ours.restart_s[size])
    labels = [f"{size:,} rows" for size in sizes]
    return Section(
        title="The embedded engine",
        question="How do searches and inserts of the embedded engine grow with the rows, beside "
        f"untouched Milvus Lite? {DIMENSION} dimensions, AUTOINDEX, COSINE, clustered unit "
        f"vectors, {BATCH} rows an insert from one client, top 10 with one output field; "
        "searches after the engine has come to rest, or "
        f"{LONGEST_WAIT_S} s after the last insert, through `milvane serve` and through Milvus "
        f"Lite's own server; while inserting, {TRICKLE_ROWS} rows every {TRICKLE_PAUSE_S} s.",
        columns=["rows", "work", "Milvus Lite", "Milvane", "ratio"],
        rows=table,
        notes=[
            "The ratio is Milvane to Milvus Lite. Clients, gateway and engine share the "
            "machine's cores. Memory is that of the process that holds the rows, after searches. "
            "A restart is a clean stop and a start, until searches are taken again."
        ],
        plots=[
            Plot(
                "embedded-engine-search",
                "Search, median",
                "ms",
                labels,
                {
                    "Milvus Lite": [bare.search_ms[size][0] for size in sizes],
                    "Milvane": [ours.search_ms[size][0] for size in sizes],
                },
            ),
            Plot(
                "embedded-engine-insert",
                "Insert",
                "rows/s",
                labels,
                {
                    "Milvus Lite": [bare.insert_per_s[size] for size in sizes],
                    "Milvane": [ours.insert_per_s[size] for size in sizes],
                },
            ),
        ],
    )
