"""
The work that each engine is given, with the client that its users have.

Also a program, which other Pythons run with other packages installed; so it needs numpy only:
``python -m benchmarks.engine_work measure KIND FOLDER SIZES SECONDS`` prints figures as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import quantiles_ms, timed_s

DIMENSION = 1024
BATCH = 500
CLIENTS = 4
TOP = 10
TRICKLE_ROWS = 20
TRICKLE_PAUSE_S = 0.1
LONGEST_WAIT_S = 60
NAME = "rows"
_ROOT = Path(__file__).parent.parent
_PROGRAM = (sys.executable, "-m", "benchmarks.engine_work")

Vectors = NDArray[np.float32]


@dataclass
class Figures:
    """What one engine took, by number of rows where it depends on it."""

    insert_per_s: dict[int, float] = field(default_factory=dict)
    slowest_batch_s: dict[int, float] = field(default_factory=dict)
    idle_after_s: dict[int, float] = field(default_factory=dict)
    search_ms: dict[int, tuple[float, float]] = field(default_factory=dict)
    filtered_ms: dict[int, tuple[float, float]] = field(default_factory=dict)
    per_s: dict[int, float] = field(default_factory=dict)
    busy_ms: dict[int, tuple[float, float]] = field(default_factory=dict)
    recall: dict[int, float] = field(default_factory=dict)
    memory_gb: dict[int, float] = field(default_factory=dict)
    anonymous_gb: dict[int, float] = field(default_factory=dict)
    restart_s: dict[int, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Figures:
        """Read what another process has measured."""
        found = json.loads(text)
        return cls(**{k: {int(size): v for size, v in by.items()} for k, by in found.items()})


@dataclass
class Engine:
    """A running engine."""

    uri: str
    pid: Callable[[], int]
    """The process that holds the rows."""
    restart: Callable[[], float]
    """Stops the engine and starts it; returns the seconds from the start until it is searchable."""


class MilvusStore:
    """One client of pymilvus."""

    def __init__(self, uri: str) -> None:
        from pymilvus import MilvusClient

        self._client = MilvusClient(uri=uri)

    def create(self) -> None:
        """Make the collection: ids, a number to filter by, a short text, vectors."""
        from pymilvus import DataType

        schema = self._client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("shelf", DataType.INT64)
        schema.add_field("title", DataType.VARCHAR, max_length=100)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
        self._client.create_collection(NAME, schema=schema, index_params=index)

    def load(self) -> None:
        """Make the collection searchable after a restart."""
        self._client.load_collection(NAME)

    def insert(self, vectors: Vectors, first: int) -> None:
        """Insert rows with consecutive ids."""
        rows = [
            {"id": i, "shelf": i % 100, "title": f"row {i}", "vector": vector}
            for i, vector in enumerate(vectors, first)
        ]
        self._client.insert(NAME, rows)

    def flush(self) -> None:
        """Have rows moved to disk."""
        self._client.flush(NAME)

    def search(self, query: list[float], *, filtered: bool = False) -> list[int]:
        """Return the ids of the nearest rows, in whose titles one is interested."""
        expression = "shelf < 50" if filtered else ""
        found = self._client.search(NAME, [query], expression, TOP, output_fields=["title"])
        return [hit["id"] for hit in found[0]]

    def delete_from(self, first: int) -> None:
        """Delete the rows from an id on."""
        self._client.delete(NAME, filter=f"id >= {first}")

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class ChromaStore:
    """One client of Chroma's server."""

    def __init__(self, uri: str) -> None:
        import chromadb

        host, _, port = uri.partition(":")
        self._client = chromadb.HttpClient(host, int(port))
        names = {each.name for each in self._client.list_collections()}
        self._rows = None
        if NAME in names:
            self._rows = self._client.get_collection(NAME, embedding_function=None)

    def create(self) -> None:
        """Make the collection; metadata needs no declaration."""
        self._rows = self._client.create_collection(
            NAME, embedding_function=None, metadata={"hnsw:space": "cosine"}
        )

    def load(self) -> None:
        """Search once: rows are read then."""
        self.search([0.1] * DIMENSION)

    def insert(self, vectors: Vectors, first: int) -> None:
        """Insert rows with consecutive ids."""
        ids = range(first, first + len(vectors))
        self._rows.add(
            ids=[str(i) for i in ids],
            embeddings=vectors,
            metadatas=[{"shelf": i % 100, "title": f"row {i}"} for i in ids],
        )

    def flush(self) -> None:
        """Do nothing: there is no such call."""

    def search(self, query: list[float], *, filtered: bool = False) -> list[int]:
        """Return the ids of the nearest rows, in whose titles one is interested."""
        where = {"shelf": {"$lt": 50}} if filtered else None
        found = self._rows.query(
            query_embeddings=[query], n_results=TOP, where=where, include=["metadatas", "distances"]
        )
        return [int(each) for each in found["ids"][0]]

    def delete_from(self, first: int) -> None:
        """Delete the rows that were inserted from an id on."""
        found = self._rows.get(where={"shelf": {"$gte": 0}}, include=[])["ids"]
        extra = [each for each in found if int(each) >= first]
        for start in range(0, len(extra), BATCH):
            self._rows.delete(ids=extra[start : start + BATCH])

    def close(self) -> None:
        """Disconnect; nothing is open."""


def connect(kind: str, uri: str) -> MilvusStore | ChromaStore:
    """Make a client."""
    return ChromaStore(uri) if kind == "chroma" else MilvusStore(uri)


def clustered_vectors(count: int) -> Vectors:
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


def searches_s(
    store: MilvusStore | ChromaStore, queries: Vectors, seconds: float, **how: bool
) -> list[float]:
    """Search one query after the other for some seconds; return how long each took."""
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        query = queries[len(durations) % len(queries)].tolist()
        durations.append(timed_s(lambda query=query: store.search(query, **how)))
    return durations


def recall(store: MilvusStore | ChromaStore, queries: Vectors, vectors: Vectors) -> float:
    """Say which part of the nearest rows is found."""
    found = 0
    for query in queries:
        true = np.argpartition(-(vectors @ query), TOP)[:TOP]
        found += len(set(true.tolist()) & set(store.search(query.tolist())))
    return found / (TOP * len(queries))


def wait_until_idle(engine: Engine, size: int) -> float:
    """Wait until the engine does nothing by itself any more; return the seconds it took."""
    longest_s = LONGEST_WAIT_S * max(1.0, size / 100_000)
    begun = time.perf_counter()
    pid, quiet = engine.pid(), 0
    while quiet < 3 and time.perf_counter() - begun < longest_s:
        before = processor_s(pid)
        time.sleep(1)
        quiet = quiet + 1 if processor_s(pid) - before < 0.05 else 0
    return time.perf_counter() - begun


def processor_s(pid: int) -> float:
    """Say how many seconds of processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_gb(pid: int) -> tuple[float, float]:
    """Say how much memory a process has now: all that is resident, and what no file backs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return int(kilobytes["VmRSS"]) / 1e6, int(kilobytes["RssAnon"]) / 1e6


def searches_per_s(kind: str, uri: str, queries: Vectors, seconds: float) -> float:
    """Search from several processes; return searches a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.npy"
        np.save(path, queries)
        clients = [
            subprocess.Popen(
                [*_PROGRAM, "search", kind, uri, str(seconds), str(path)],
                cwd=_ROOT,
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


def search_when_told(kind: str, uri: str, seconds: float, path: str) -> None:
    """Be one of several clients; print how often one searched."""
    queries = np.load(path)
    store = connect(kind, uri)
    store.search(queries[0].tolist())
    print("ready", flush=True)
    sys.stdin.readline()
    print(len(searches_s(store, queries, seconds)))


@contextmanager
def trickle(kind: str, uri: str, vectors: Vectors, first: int) -> Iterator[None]:
    """Insert 200 rows a second beside what is done within, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        np.save(path, vectors[:5_000])
        writer = subprocess.Popen(
            [*_PROGRAM, "trickle", kind, uri, str(first), str(path)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        writer.stdout.readline()
        try:
            yield
        finally:
            writer.communicate()


def write_until_told(kind: str, uri: str, first: int, path: str) -> None:
    """Insert a few rows again and again until standard input ends."""
    vectors = np.load(path)
    store = connect(kind, uri)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    print("ready", flush=True)
    due = time.monotonic()
    while not stop.is_set():
        part = np.take(vectors, range(first, first + TRICKLE_ROWS), axis=0, mode="wrap")
        store.insert(part, first)
        first += TRICKLE_ROWS
        due += TRICKLE_PAUSE_S
        stop.wait(max(0.0, due - time.monotonic()))


def measure_engine(
    kind: str, engine: Engine, vectors: Vectors, sizes: list[int], seconds: float
) -> Figures:
    """Fill one engine step by step, and search at each size."""
    figures = Figures()
    store = connect(kind, engine.uri)
    store.create()
    queries = vectors[:: max(1, len(vectors) // 256)][:256] + np.float32(0.01)
    start, extra = 0, 10 * max(sizes)
    for size in sizes:
        parts = [(vectors[first : first + BATCH], first) for first in range(start, size, BATCH)]
        batches = [timed_s(lambda part=part: store.insert(*part)) for part in parts]
        figures.insert_per_s[size] = (size - start) / sum(batches)
        figures.slowest_batch_s[size] = max(batches)
        store.flush()
        figures.idle_after_s[size] = wait_until_idle(engine, size)
        figures.recall[size] = recall(store, queries, vectors[:size])
        figures.search_ms[size] = quantiles_ms(searches_s(store, queries, seconds))
        figures.filtered_ms[size] = quantiles_ms(searches_s(store, queries, seconds, filtered=True))
        figures.per_s[size] = searches_per_s(kind, engine.uri, queries, seconds)
        figures.memory_gb[size], figures.anonymous_gb[size] = memory_gb(engine.pid())
        with trickle(kind, engine.uri, vectors, extra):
            figures.busy_ms[size] = quantiles_ms(searches_s(store, queries, 2 * seconds))
        store.delete_from(extra)
        store.flush()
        start = size
    store.close()
    figures.restart_s[sizes[-1]] = engine.restart()
    return figures


@contextmanager
def started(
    command: list[str], kind: str, address: Callable[[str], str], *, prints: bool = True
) -> Iterator[Engine]:
    """
    Run an engine that ends with its input, or when it is told to.

    Args:
        command: Its program.

        kind: Of its clients.

        address: Makes what clients need of the first line that it prints; waits until they can.

        prints: Whether it prints such a line.
    """

    def start() -> tuple[subprocess.Popen[str], str]:
        output = subprocess.PIPE if prints else subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, text=True)
        return process, address(process.stdout.readline().strip() if prints else "")

    def stop(process: subprocess.Popen[str]) -> None:
        if not prints:
            process.terminate()
        process.stdin.close()
        process.wait()

    def restart() -> float:
        nonlocal running
        stop(running)
        begun = time.perf_counter()
        running, engine.uri = start()
        store = connect(kind, engine.uri)
        store.load()
        store.close()
        return time.perf_counter() - begun

    running, uri = start()
    engine = Engine(uri, lambda: _largest(running.pid), restart)
    try:
        yield engine
    finally:
        stop(running)


def _largest(pid: int) -> int:
    """Say which of a process and its children holds the rows."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max([pid, *map(int, children)], key=lambda each: memory_gb(each)[0])


_LITE_2 = """
import sys
from milvus_lite.server_manager import server_manager_instance as servers
print(servers.start_and_get_uri(sys.argv[1]), flush=True)
sys.stdin.read()
servers.release_all()
"""


@contextmanager
def bar(kind: str, folder: Path) -> Iterator[Engine]:
    """Run an engine of others, from the packages of this Python."""
    if kind == "lite2":
        command = [sys.executable, "-c", _LITE_2, str(folder / "rows.db")]
        with started(command, kind, lambda line: line) as engine:
            yield engine
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def await_port(_: str) -> str:
        end = time.monotonic() + LONGEST_WAIT_S
        while not _listens(port) and time.monotonic() < end:
            time.sleep(0.05)
        return f"127.0.0.1:{port}"

    program = str(Path(sys.executable).parent / "chroma")
    command = [program, "run", "--path", str(folder / "chroma"), "--host", "127.0.0.1"]
    with started([*command, "--port", str(port)], kind, await_port, prints=False) as engine:
        yield engine


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Do what the command line says."""
    command, kind, *rest = sys.argv[1:]
    if command == "search":
        search_when_told(kind, rest[0], float(rest[1]), rest[2])
    elif command == "trickle":
        write_until_told(kind, rest[0], int(rest[1]), rest[2])
    else:
        sizes = [int(each) for each in rest[1].split(",")]
        with bar(kind, Path(rest[0])) as engine:
            figures = measure_engine(
                kind, engine, clustered_vectors(max(sizes)), sizes, float(rest[2])
            )
        print(json.dumps(asdict(figures)), flush=True)


if __name__ == "__main__":
    main()
