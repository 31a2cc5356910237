"""The hosted service's own first example, with the oldest and the newest supported client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from milvane.testing.servers import MilvaneProcess

SCRIPTS = Path(__file__).parent / "scripts"


def test_documented_example_runs_unchanged(
    server: MilvaneProcess, client_environment: dict[str, str]
) -> None:
    """Only uri and token differ from the document; its first hit is the document's first hit."""
    run = subprocess.run(
        [sys.executable, SCRIPTS / "text_search_example.py", server.grpc_uri],
        env=client_environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Inserted 20/20 records" in run.stdout
    hits = re.findall(r"id=(\d+), distance=(0\.\d{4}), document=(.*)", run.stdout)
    assert len(hits) == 3
    assert hits[0][0] == "1"
    assert hits[0][2].startswith("A vector database converts text into high-dimensional vectors")
    distances = [float(distance) for _, distance, _ in hits]
    assert distances == sorted(distances, reverse=True)
    assert 0.75 < distances[0] < 0.85


def test_example_runs_through_the_orm(
    server: MilvaneProcess, client_environment: dict[str, str]
) -> None:
    """The older interface finds the same text first."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPTS / "text_search_orm.py", server.grpc_uri],
        env=client_environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[0] == "1"
