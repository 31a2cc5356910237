"""What a batch comes to when the server is killed in the middle of it."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from milvane.testing.servers import MilvaneProcess

LINES = 2000
BAD_EVERY = 500
KILLS = 3
ENVIRONMENT = {"MILVANE_JOBS__LEASE_S": "1", "MILVANE_JOBS__PAGE_LINES": "32"}


def line_of(number: int) -> dict[str, Any]:
    """Make a line of the batch; every so often one that has no answer."""
    text = (
        "" if number % BAD_EVERY == BAD_EVERY - 1 else f"Line {number} has {'word ' * (number % 9)}"
    )
    return {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "text-embedding-v3", "input": text, "dimensions": 64},
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MilvaneProcess]:
    """A server of one's own that records its progress often."""
    with MilvaneProcess(tmp_path / "data", environment=ENVIRONMENT) as process:
        yield process


def submit(server: MilvaneProcess, lines: int = LINES) -> str:
    """Hand in the batch; returns its id."""
    content = b"".join(json.dumps(line_of(number)).encode() + b"\n" for number in range(lines))
    reply = httpx.post(
        f"{server.http_url}/v1/files",
        data={"purpose": "batch"},
        files={"file": ("b.jsonl", content)},
    )
    body = {
        "input_file_id": reply.raise_for_status().json()["id"],
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
    }
    reply = httpx.post(f"{server.http_url}/v1/batches", json=body)
    return str(reply.raise_for_status().json()["id"])


def wait_for(
    server: MilvaneProcess, batch_id: str, is_reached: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Look at a batch until it is as far as that."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        reply = httpx.get(f"{server.http_url}/v1/batches/{batch_id}", timeout=30)
        batch: dict[str, Any] = reply.raise_for_status().json()
        if is_reached(batch):
            return batch
        threading.Event().wait(0.05)
    raise AssertionError(f"the batch does not get on: {batch}")


def results_of(server: MilvaneProcess, file_id: str) -> list[dict[str, Any]]:
    """Read the lines of a file that a batch has left."""
    reply = httpx.get(f"{server.http_url}/v1/files/{file_id}/content", timeout=30)
    return [json.loads(line) for line in reply.raise_for_status().content.splitlines()]


def test_killed_batch_ends_with_every_line_once(server: MilvaneProcess) -> None:
    """After several kills each line has one answer or one failure, and usage is their sum."""
    batch_id = submit(server)
    chance = random.Random(7)
    for kill in range(KILLS):
        # The first kill falls into the validation, the others into the work.
        done = 0 if kill == 0 else chance.randint(kill * LINES // 6, (kill + 1) * LINES // 6)
        wait_for(server, batch_id, lambda batch: progress(batch) >= done)  # noqa: B023
        threading.Event().wait(chance.random() * 0.05)
        server.kill()
        server.start()
    batch = wait_for(server, batch_id, lambda batch: batch["status"] == "completed")
    answers = results_of(server, batch["output_file_id"])
    failures = results_of(server, batch["error_file_id"])
    good = [number for number in range(LINES) if line_of(number)["body"]["input"]]
    bad = [number for number in range(LINES) if not line_of(number)["body"]["input"]]
    assert [each["custom_id"] for each in answers] == [f"line-{number}" for number in good]
    assert [each["custom_id"] for each in failures] == [f"line-{number}" for number in bad]
    counts = {"total": LINES, "completed": len(good), "failed": len(bad)}
    assert batch["request_counts"] == counts
    tokens = sum(each["response"]["body"]["usage"]["total_tokens"] for each in answers)
    assert batch["usage"]["total_tokens"] == tokens
    assert all(each["error"]["code"] == "InvalidParameter" for each in failures)
    check_vectors(server, answers)
    assert not list((Path(server.log.parent) / "data" / "files" / "parts").iterdir())


def progress(batch: dict[str, Any]) -> int:
    """Count the lines of a batch that have ended."""
    counts = batch["request_counts"]
    return int(counts["completed"] + counts["failed"])


def check_vectors(server: MilvaneProcess, answers: list[dict[str, Any]]) -> None:
    """Compare some answers with what the same requests get on their own."""
    for answer in random.Random(3).sample(answers, 5):
        number = int(answer["custom_id"].removeprefix("line-"))
        reply = httpx.post(f"{server.http_url}/v1/embeddings", json=line_of(number)["body"])
        expected = reply.raise_for_status().json()["data"][0]["embedding"]
        found = answer["response"]["body"]["data"][0]["embedding"]
        assert sum(a * b for a, b in zip(found, expected, strict=True)) > 0.999


def test_cancelled_batch_keeps_what_was_done(server: MilvaneProcess) -> None:
    """A batch cancelled midway ends at once, with one answer for each line that it counts."""
    batch_id = submit(server)
    wait_for(server, batch_id, lambda batch: progress(batch) > 100)
    reply = httpx.post(f"{server.http_url}/v1/batches/{batch_id}/cancel")
    assert reply.json()["status"] in ("cancelling", "cancelled")
    batch = wait_for(server, batch_id, lambda batch: batch["status"] == "cancelled")
    answers = results_of(server, batch["output_file_id"])
    assert len(answers) == batch["request_counts"]["completed"] < LINES
    assert len({each["custom_id"] for each in answers}) == len(answers)


def test_terminated_server_gives_its_batch_back(server: MilvaneProcess) -> None:
    """After an orderly stop the next server goes on at once, without waiting for a lease to end."""
    batch_id = submit(server, lines=600)
    wait_for(server, batch_id, lambda batch: progress(batch) > 100)
    assert server.terminate() == 0
    server.start()
    batch = wait_for(server, batch_id, lambda batch: batch["status"] == "completed")
    assert progress(batch) == 600
    assert "lease=2" in server.log.read_text()
