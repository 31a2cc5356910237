"""Writers, readers and flushes on a server that is killed again and again: what must be left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException

from milvane.testing.servers import MilvaneProcess

DIMENSION = 64
WRITERS = 8
READERS = 2
ROWS_PER_INSERT = 4
CHECKED_VECTORS = 500
PATIENCE_S = 120
TIMEOUT_S = 15
WORDS = ["river", "stone", "cloud", "engine", "garden", "letter", "market", "window", "bridge"]
SMALL_MEMORY = {"MILVANE_LITE__FLUSH_MAX_ROWS": "60", "MILVANE_LITE__FLUSH_IDLE_S": "0.3"}
"""Settings with which kills meet flushes and merges all the time."""


def text_of(number: int) -> str:
    """Make the text of a row from its id: different rows mean different things."""
    chosen = random.Random(number).sample(WORDS, 4)
    return f"Row {number} is about {' and '.join(chosen)}."


def vector_of(number: int) -> list[float]:
    """Make the vector of a row from its id; no two rows have the same."""
    vector = np.random.default_rng(number).normal(size=DIMENSION).astype(np.float32)
    return (vector / np.linalg.norm(vector)).tolist()


class Texts:
    """Rows that the server embeds."""

    def fields(self, number: int) -> dict[str, object]:
        """Say what a row consists of when it is sent."""
        return {"id": number, "document": text_of(number)}

    def expected(self, server: MilvaneProcess, numbers: list[int]) -> np.ndarray:
        """Say which vectors rows must have, shape ``(rows, dimension)``."""
        return embed(server, [text_of(number) for number in numbers])

    def query(self, number: int) -> object:
        """Say what to search a row with."""
        return text_of(number)


class Vectors:
    """Rows with vectors that are sent: they take nothing but the engine's time."""

    def fields(self, number: int) -> dict[str, object]:
        """Say what a row consists of when it is sent."""
        return {"id": number, "document": text_of(number), "dense": vector_of(number)}

    def expected(self, _server: MilvaneProcess, numbers: list[int]) -> np.ndarray:
        """Say which vectors rows must have, shape ``(rows, dimension)``."""
        return np.asarray([vector_of(number) for number in numbers], dtype=np.float32)

    def query(self, number: int) -> object:
        """Say what to search a row with."""
        return vector_of(number)


@dataclass
class Ledger:
    """What the writers tried, what the server acknowledged, and what readers missed."""

    rows: Texts | Vectors = field(default_factory=Texts)
    attempted: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    last: int = -1
    """The row that was acknowledged last."""
    kills: int = 0
    last_failure: str = ""
    """What a call failed with last."""
    complaints: list[str] = field(default_factory=list)
    """What readers saw that must not be."""
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
            self.last = ids[-1]

    def wait_for_more(self, rows: int) -> None:
        """Wait until so many more rows have been acknowledged."""
        wanted = len(self.acknowledged) + rows
        deadline = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, f"no progress: {self.last_failure}"
            threading.Event().wait(random.random() * 0.02)


class Crowd:
    """Threads that work as fast as they are answered, and go on when the server is back."""

    def __init__(self, uri: str, ledger: Ledger, *, readers: int = 0, flushes: int = 0) -> None:
        self._uri = uri
        self._ledger = ledger
        self._stop = threading.Event()
        self._counted: dict[int, int] = {}
        works = [self._write] * WRITERS + [self._read] * readers + [self._flush] * flushes
        self._threads = [threading.Thread(target=self._keep_on, args=(work,)) for work in works]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _keep_on(self, work: Callable[[MilvusClient], None]) -> None:
        while not self._stop.is_set():
            try:
                client = MilvusClient(uri=self._uri, timeout=TIMEOUT_S)
                work(client)
                client.close()
            except (MilvusException, grpc.RpcError) as error:
                self._ledger.last_failure = str(error)
                self._stop.wait(0.05)  # the server is down: nothing to wait for but time

    def _write(self, client: MilvusClient) -> None:
        while not self._stop.is_set():
            ids = self._ledger.take()
            rows = [self._ledger.rows.fields(number) for number in ids]
            client.insert("rows", rows, timeout=TIMEOUT_S)
            self._ledger.acknowledge(ids)

    def _read(self, client: MilvusClient) -> None:
        reader = threading.get_ident()
        while not self._stop.is_set():
            row = self._ledger.last
            least = max(self._counted.get(reader, 0), len(self._ledger.acknowledged))
            count = client.query("rows", output_fields=["count(*)"], timeout=TIMEOUT_S)[0][
                "count(*)"
            ]
            if count < least:
                self._ledger.complaints.append(f"{count} rows counted where {least} were")
            self._counted[reader] = count
            if row >= 0 and len(client.get("rows", ids=[row], timeout=TIMEOUT_S)) != 1:
                self._ledger.complaints.append(f"row {row} was not found once")

    def _flush(self, client: MilvusClient) -> None:
        while not self._stop.wait(0.2):
            client.flush("rows", timeout=TIMEOUT_S)


def create(uri: str, rows: Texts | Vectors) -> None:
    """Create the collection that the writers fill."""
    client = MilvusClient(uri=uri)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=200)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSION)
    if isinstance(rows, Texts):
        params = {
            "provider": "aliyun_milvus",
            "model_name": "text-embedding-v3",
            "dim": str(DIMENSION),
        }
        schema.add_function(
            Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
        )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("rows", schema=schema, index_params=index)
    client.close()


def kill_server(server: MilvaneProcess) -> None:
    """Kill the gateway process; it must take Milvus Lite along by itself."""
    server.kill()
    server.start()


def kill_lite(server: MilvaneProcess) -> None:
    """Kill Milvus Lite; the server must bring it back by itself."""
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # it was dead already
            child.kill()


def kill_both(server: MilvaneProcess) -> None:
    """Kill Milvus Lite and the gateway process."""
    kill_lite(server)
    kill_server(server)


def crash(
    data_dir: Path,
    *,
    kills: int,
    seed: int,
    longest_s: float = float("inf"),
    tell: Callable[[str], None] = lambda _: None,
    kinds: Sequence[Callable[[MilvaneProcess], None]] = (*[kill_lite] * 4, kill_server, kill_both),
) -> Ledger:
    """
    Kill a server at random moments while everybody works, and check what is left.

    Args:
        data_dir: Of the server; empty.

        kills: How often.

        seed: Of the moments and of who is killed.

        longest_s: After so long, nothing more is killed.

        tell: Hears now and then how far it is.

        kinds: What is killed, the more often the more often it is named.

    Returns:
        What was written.
    """
    dice, ledger = random.Random(seed), Ledger(Vectors())
    begun_s = time.monotonic()
    with MilvaneProcess(data_dir, environment=SMALL_MEMORY) as server:
        create(server.grpc_uri, ledger.rows)
        with Crowd(server.grpc_uri, ledger, readers=READERS, flushes=1):
            while ledger.kills < kills and time.monotonic() - begun_s < longest_s:
                if dice.random() < 0.7:  # the others may meet a start
                    ledger.wait_for_more(1)
                time.sleep(dice.uniform(0, 0.8))
                dice.choice(kinds)(server)
                ledger.kills += 1
                if ledger.kills % 10 == 0:
                    tell(f"{ledger.kills} kills, {len(ledger.acknowledged)} rows acknowledged")
            ledger.wait_for_more(1)
        check(server, ledger)
        tell("all rows are there once; starting anew")
        server.terminate()
        server.start()
        check(server, ledger)
    assert "lite.audit" not in server.log.read_text(), "an account differs"
    return ledger


def check(server: MilvaneProcess, ledger: Ledger) -> None:
    """Compare what is stored with what was acknowledged."""
    assert ledger.complaints == []
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
    sample = random.Random(0).sample(rows, min(CHECKED_VECTORS, len(rows)))
    stored = np.asarray([row["dense"] for row in sample], dtype=np.float32)
    expected = ledger.rows.expected(server, [row["id"] for row in sample])
    assert (stored * expected).sum(axis=1).min() > 0.999, "a vector is not its row's"
    some = random.Random(0).sample(sorted(ledger.acknowledged), 20)
    found = client.search("rows", [ledger.rows.query(i) for i in some], anns_field="dense", limit=1)
    assert [hits[0]["id"] for hits in found] == some
    client.close()


def embed(server: MilvaneProcess, texts: list[str]) -> np.ndarray:
    """Embed texts through the other front door, shape ``(texts, dimension)``."""
    body = {"model": "text-embedding-v3", "input": texts, "dimensions": DIMENSION}
    reply = httpx.post(f"{server.http_url}/v1/embeddings", json=body, timeout=60)
    vectors = [entry["embedding"] for entry in reply.raise_for_status().json()["data"]]
    return np.asarray(vectors, dtype=np.float32)
