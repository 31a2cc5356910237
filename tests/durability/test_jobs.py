"""What a batch comes to when the process that runs it is killed or stopped in the middle."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from milvane.testing.servers import MilvaneProcess

LINES = 4000
BAD_EVERY = 500
SCRIPT = Path(__file__).parent / "scripts" / "job_server.py"


class JobServer:
    """A process that serves files and jobs, and can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.client = httpx.Client(timeout=30)
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it on the port that it had before."""
        tests = str(SCRIPT.parent.parent.parent)
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, SCRIPT, str(self.folder), self._port],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": tests},
            )
        assert self._process.stdout is not None
        url = self._process.stdout.readline().strip()
        assert url, self.log.read_text()[-2000:]
        self._port = url.rpartition(":")[2]
        self.client.base_url = url

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[JobServer]:
    """A running process with a folder of its own."""
    server = JobServer(tmp_path / "data")
    server.start()
    yield server
    server.kill()
    server.client.close()


def line_of(number: int) -> dict[str, Any]:
    """Make a line of the batch; every so often one that has no answer."""
    is_bad = number % BAD_EVERY == BAD_EVERY - 1
    text = "" if is_bad else f"Line {number} has {'word ' * (number % 9)}"
    return {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "text-embedding-v3", "input": text, "dimensions": 64},
    }


def submit(client: httpx.Client, lines: int) -> str:
    """Hand in a batch; returns its id."""
    content = b"".join(json.dumps(line_of(number)).encode() + b"\n" for number in range(lines))
    files = {"file": ("b.jsonl", content)}
    reply = client.post("/v1/files", data={"purpose": "batch"}, files=files)
    body = {
        "input_file_id": reply.raise_for_status().json()["id"],
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
    }
    return str(client.post("/v1/batches", json=body).raise_for_status().json()["id"])


def wait_for(
    client: httpx.Client, batch_id: str, is_reached: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Look at a batch until it is as far as that."""
    deadline = time.monotonic() + 60
    while True:
        batch: dict[str, Any] = client.get(f"/v1/batches/{batch_id}").raise_for_status().json()
        if is_reached(batch):
            return batch
        assert time.monotonic() < deadline, f"the batch does not get on: {batch}"
        threading.Event().wait(0.01)


def has_done(lines: int) -> Callable[[dict[str, Any]], bool]:
    """Say whether so many lines have ended."""
    return lambda batch: progress(batch) >= lines


def has_status(status: str) -> Callable[[dict[str, Any]], bool]:
    """Say whether a batch has this status."""
    return lambda batch: bool(batch["status"] == status)


def progress(batch: dict[str, Any]) -> int:
    """Count the lines of a batch that have ended."""
    counts = batch["request_counts"]
    return int(counts["completed"] + counts["failed"])


def results_of(client: httpx.Client, file_id: str) -> list[dict[str, Any]]:
    """Read the lines of a file that a batch has left."""
    reply = client.get(f"/v1/files/{file_id}/content").raise_for_status()
    return [json.loads(line) for line in reply.content.splitlines()]


def test_killed_batch_ends_with_every_line_once(server: JobServer) -> None:
    """After several kills each line has one answer or one failure, and usage is their sum."""
    batch_id = submit(server.client, LINES)
    chance = random.Random(7)
    # Before or in the validation, twice in the work, and where the files are put together.
    points = [0, chance.randint(1, LINES // 2), chance.randint(LINES // 2, LINES), LINES - 1]
    for done in points:
        wait_for(server.client, batch_id, has_done(done))
        threading.Event().wait(chance.random() * 0.02)
        server.kill()
        server.start()
    assert server.log.read_text().count("job taken") >= 3
    batch = wait_for(server.client, batch_id, has_status("completed"))
    answers = results_of(server.client, batch["output_file_id"])
    failures = results_of(server.client, batch["error_file_id"])
    good = [number for number in range(LINES) if line_of(number)["body"]["input"]]
    bad = [number for number in range(LINES) if not line_of(number)["body"]["input"]]
    assert [each["custom_id"] for each in answers] == [f"line-{number}" for number in good]
    assert [each["custom_id"] for each in failures] == [f"line-{number}" for number in bad]
    counts = {"total": LINES, "completed": len(good), "failed": len(bad)}
    assert batch["request_counts"] == counts
    tokens = sum(each["response"]["body"]["usage"]["total_tokens"] for each in answers)
    assert batch["usage"]["total_tokens"] == tokens
    assert {each["error"]["code"] for each in failures} == {"InvalidParameter"}
    check_vectors(server.client, answers)
    wait_until_empty(server.folder / "files" / "parts")


def wait_until_empty(folder: Path) -> None:
    """Wait until what a batch no longer needs is gone."""
    deadline = time.monotonic() + 10
    while list(folder.iterdir()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def check_vectors(client: httpx.Client, answers: list[dict[str, Any]]) -> None:
    """Compare some answers with what the same requests get on their own."""
    for answer in random.Random(7).sample(answers, 5):
        number = int(answer["custom_id"].removeprefix("line-"))
        reply = client.post("/v1/embeddings", json=line_of(number)["body"]).raise_for_status()
        found = answer["response"]["body"]["data"]
        assert found == reply.json()["data"]


def test_cancelled_batch_keeps_what_was_done(server: JobServer) -> None:
    """A batch cancelled midway ends, with one answer for each line that it counts as done."""
    batch_id = submit(server.client, LINES)
    wait_for(server.client, batch_id, has_done(100))
    cancelled = server.client.post(f"/v1/batches/{batch_id}/cancel").raise_for_status().json()
    assert cancelled["status"] == "cancelling"
    server.kill()
    server.start()
    batch = wait_for(server.client, batch_id, has_status("cancelled"))
    answers = results_of(server.client, batch["output_file_id"])
    assert len(answers) == batch["request_counts"]["completed"] < LINES
    assert len({each["custom_id"] for each in answers}) == len(answers)


def test_stopped_server_gives_its_batch_back(tmp_path: Path) -> None:
    """After an orderly stop the next server goes on at once, with no lease to wait for."""
    environment = {"MILVANE_JOBS__LEASE_S": "3600"}
    with MilvaneProcess(tmp_path / "data", environment=environment) as server:
        with httpx.Client(base_url=server.http_url, timeout=30) as client:
            batch_id = submit(client, 1500)
            wait_for(client, batch_id, has_done(64))
        assert server.terminate() == 0
        server.start()
        with httpx.Client(base_url=server.http_url, timeout=30) as client:
            assert progress(wait_for(client, batch_id, has_status("completed"))) == 1500
