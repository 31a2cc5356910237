"""A disk that is full under the cache of vectors is nobody's trouble."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from milvane.testing.servers import MilvaneProcess

MODEL = "text-embedding-v4"
UNSHARE = ("unshare", "--map-root-user", "--mount")
MOUNT = 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"'


def can_mount() -> bool:
    """Say whether a process of ours may have a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    probe = (*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def embed(client: httpx.Client, texts: list[str]) -> list[object]:
    """Ask for vectors, which have to come."""
    body = {"model": MODEL, "input": texts, "encoding_format": "base64", "dimensions": 64}
    answer = client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text[:300]
    return [item["embedding"] for item in answer.json()["data"]]


def measured(client: httpx.Client, name: str) -> float:
    """Read a number from the metrics."""
    [value] = [
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    ]
    return value


@pytest.mark.skipif(not can_mount(), reason="needs unshare, and leave to mount")
def test_server_goes_on_with_a_full_disk_under_its_cache(tmp_path: Path) -> None:
    """Every text gets its vector, known ones from memory; it is said once, and readiness stays."""
    folder = tmp_path / "data" / "cache"
    folder.mkdir(parents=True)
    server = MilvaneProcess(tmp_path / "data", runner=(*UNSHARE, "sh", "-c", MOUNT, str(folder)))
    texts = [
        f"line {number} of a text that is worth a place on the disk, " * 3 for number in range(300)
    ]
    with server, httpx.Client(base_url=server.http_url, timeout=120) as client:
        first = [
            vector for at in range(0, 300, 100) for vector in embed(client, texts[at : at + 100])
        ]
        while not measured(client, "milvane_cache_disk_failures_total"):
            pass  # what waits is written within a moment
        assert embed(client, texts) == first
        assert measured(client, "milvane_cache_disk_dropped_total") > 0
        assert client.get("/health/ready").status_code == 200
    log = server.log.read_text()
    assert log.count("vectors are computed again") == 1
    assert "full" in log
    assert "Traceback" not in log
