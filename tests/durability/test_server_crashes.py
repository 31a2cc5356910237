"""What survives when the server, the embedded Milvus Lite, or both are killed under load."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException

from milvane.testing.servers import MilvaneProcess

DIMENSION = 64
WRITERS = 8
ROWS_PER_INSERT = 4
WORDS = ["river", "stone", "cloud", "engine", "garden", "letter", "market", "window", "bridge"]


def text_of(number: int) -> str:
    """Make the text of a row from its id: different rows mean different things."""
    chosen = random.Random(number).sample(WORDS, 4)
    return f"Row {number} is about {' and '.join(chosen)}."


@dataclass
class Ledger:
    """What the writers tried, and what the server acknowledged."""

    attempted: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> list[int]:
        """Take ids that nobody has used."""
        with self.lock:
            start = len(self.attempted)
            ids = list(range(start, start + ROWS_PER_INSERT))
            self.attempted.update(ids)
        return ids

    def acknowledge(self, ids: list[int]) -> None:
        """Note that the server has said yes."""
        with self.lock:
            self.acknowledged.update(ids)


class Writers:
    """Threads that insert raw texts as fast as they are answered."""

    def __init__(self, uri: str, ledger: Ledger) -> None:
        self._uri = uri
        self._ledger = ledger
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        while not self._stop.is_set():
            try:
                client = MilvusClient(uri=self._uri, timeout=5)
                self._write_with(client)
                client.close()
            except MilvusException:
                self._stop.wait(0.05)  # the server is down: nothing to wait for but time

    def _write_with(self, client: MilvusClient) -> None:
        while not self._stop.is_set():
            ids = self._ledger.take()
            client.insert("rows", [{"id": i, "document": text_of(i)} for i in ids], timeout=5)
            self._ledger.acknowledge(ids)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MilvaneProcess]:
    """A server of one's own, with a collection that embeds."""
    # Small memtables, so that kills also meet flushes.
    environment = {"MILVANE_LITE__FLUSH_MAX_ROWS": "60", "MILVANE_LITE__FLUSH_IDLE_S": "0.3"}
    with MilvaneProcess(tmp_path / "data", environment=environment) as process:
        create(process.grpc_uri)
        yield process


def create(uri: str) -> None:
    """Create the collection that the writers fill."""
    client = MilvusClient(uri=uri)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=200)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSION)
    params = {"provider": "aliyun_milvus", "model_name": "text-embedding-v3", "dim": str(DIMENSION)}
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
    )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("rows", schema=schema, index_params=index)
    client.close()


def wait_for_more(ledger: Ledger, rows: int) -> None:
    """Wait until so many more rows have been acknowledged."""
    wanted = len(ledger.acknowledged) + rows
    deadline = time.monotonic() + 30
    while len(ledger.acknowledged) < wanted:
        assert time.monotonic() < deadline, "the writers do not get on"
        threading.Event().wait(random.random() * 0.02)


def kill_server(server: MilvaneProcess) -> None:
    """Kill the gateway process; it must take Milvus Lite along by itself."""
    server.kill()
    server.start()


def kill_lite(server: MilvaneProcess) -> None:
    """Kill Milvus Lite; the server must bring it back by itself."""
    for child in psutil.Process(server.process.pid).children():
        child.kill()


def kill_both(server: MilvaneProcess) -> None:
    """Kill Milvus Lite and the gateway process."""
    kill_lite(server)
    kill_server(server)


@pytest.mark.parametrize("kill", [kill_server, kill_lite, kill_both])
def test_acknowledged_rows_survive_kills(
    server: MilvaneProcess, kill: Callable[[MilvaneProcess], None]
) -> None:
    """Every acknowledged row is there exactly once, with the vector of its own text."""
    ledger = Ledger()
    with Writers(server.grpc_uri, ledger):
        for _ in range(2):
            wait_for_more(ledger, 120)
            kill(server)
        wait_for_more(ledger, 120)
    check(server, ledger)


def test_terminate_under_load_loses_nothing(server: MilvaneProcess, tmp_path: Path) -> None:
    """SIGTERM lets running calls finish, flushes, and exits 0 within ten seconds."""
    ledger = Ledger()
    with Writers(server.grpc_uri, ledger):
        wait_for_more(ledger, 200)
        begun = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - begun < 10
    with MilvaneProcess(tmp_path / "data") as again:
        check(again, ledger)


def check(server: MilvaneProcess, ledger: Ledger) -> None:
    """Compare what is stored with what was acknowledged."""
    client = MilvusClient(uri=server.grpc_uri)
    rows = []
    pages = client.query_iterator(
        "rows", batch_size=1000, filter="id >= 0", output_fields=["id", "document", "dense"]
    )
    while page := pages.next():
        rows += page
    pages.close()
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids)), "rows are there twice"
    assert ledger.acknowledged - set(ids) == set(), "acknowledged rows are lost"
    assert set(ids) <= ledger.attempted, "rows are there that nobody wrote"
    assert client.query("rows", output_fields=["count(*)"])[0]["count(*)"] == len(ids)
    assert all(row["document"] == text_of(row["id"]) for row in rows)
    stored = np.asarray([row["dense"] for row in rows], dtype=np.float32)
    expected = embed(server, [row["document"] for row in rows])
    assert (stored * expected).sum(axis=1).min() > 0.999, "a vector is not its text's"
    some = random.Random(0).sample(sorted(ledger.acknowledged), 20)
    found = client.search("rows", [text_of(i) for i in some], anns_field="dense", limit=1)
    assert [hits[0]["id"] for hits in found] == some
    client.close()


def embed(server: MilvaneProcess, texts: list[str]) -> np.ndarray:
    """Embed texts through the other front door, shape ``(texts, dimension)``."""
    vectors = []
    for start in range(0, len(texts), 500):
        body = {
            "model": "text-embedding-v3",
            "input": texts[start : start + 500],
            "dimensions": DIMENSION,
        }
        reply = httpx.post(f"{server.http_url}/v1/embeddings", json=body, timeout=60)
        vectors += [entry["embedding"] for entry in reply.raise_for_status().json()["data"]]
    return np.asarray(vectors, dtype=np.float32)
