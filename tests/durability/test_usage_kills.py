"""What the ledger of usage says after the server was killed in the middle of calls."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from milvane.testing.servers import MilvaneProcess

CALLERS = 4
KILLS = 3


@dataclass
class Tally:
    """What one caller knows of its calls."""

    acknowledged: int = 0
    """Tokens of calls that were answered."""
    unknown: int = 0
    """Tokens of calls whose answer was lost: they may have been made or not."""
    failures: list[str] = field(default_factory=list)


def call_until(stop: threading.Event, url: str, number: int, tally: Tally) -> None:
    """Embed one new text after the other; a server that is away is tried again."""
    with httpx.Client(base_url=url, timeout=30) as client:
        count = 0
        while not stop.is_set():
            count += 1
            # Three words of the default vocabulary and two numbers: the answer says how many
            # tokens that is; at most twelve while it is not known.
            body = {"model": "text-embedding-v4", "input": f"a new text {number} {count}"}
            try:
                reply = client.post("/v1/embeddings", json=body | {"dimensions": 64})
            except httpx.ConnectError:
                stop.wait(0.02)
            except httpx.HTTPError:
                tally.unknown += 12
            else:
                if reply.status_code == 200:
                    tally.acknowledged += reply.json()["usage"]["total_tokens"]
                elif reply.status_code != 503:
                    tally.failures.append(reply.text)


def ledger_tokens(data_dir: Path) -> tuple[int, int, int]:
    """Sum up: the single calls, the sums over hours, and the calls that are there twice."""
    with closing(sqlite3.connect(data_dir / "milvane.db")) as database:
        calls = database.execute("SELECT coalesce(sum(tokens), 0) FROM usage_calls").fetchone()
        hours = database.execute(
            "SELECT coalesce(sum(tokens), 0) FROM usage_sums WHERE step_s = 3600"
        ).fetchone()
        twice = database.execute("SELECT count(*) - count(DISTINCT id) FROM usage_calls").fetchone()
    return calls[0], hours[0], twice[0]


def test_ledger_is_what_was_answered(tmp_path: Path) -> None:
    """Nothing answered is missing, nothing is there twice, and no more than was sent."""
    data_dir, chance = tmp_path / "data", random.Random(7)
    tallies = [Tally() for _ in range(CALLERS)]
    stop = threading.Event()
    with MilvaneProcess(data_dir) as server:
        threads = [
            threading.Thread(target=call_until, args=(stop, server.http_url, number, tally))
            for number, tally in enumerate(tallies)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(KILLS):
                before = sum(tally.acknowledged for tally in tallies)
                deadline = time.monotonic() + 60
                # Killed while it works, some time after it has answered again.
                while sum(tally.acknowledged for tally in tallies) < before + chance.randrange(
                    200, 2000
                ):
                    assert time.monotonic() < deadline, server.log.read_text()[-2000:]
                    stop.wait(0.01)
                server.kill()
                server.start()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert server.terminate() == 0
    acknowledged = sum(tally.acknowledged for tally in tallies)
    unknown = sum(tally.unknown for tally in tallies)
    assert [tally.failures for tally in tallies] == [[]] * CALLERS
    assert unknown > 0, "no call was cut off: the kills came at the wrong time"
    calls, hours, twice = ledger_tokens(data_dir)
    assert acknowledged <= calls <= acknowledged + unknown
    assert hours == calls
    assert twice == 0
