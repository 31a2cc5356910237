"""Collections without embedding functions: the gateway must be as good as absent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milvane.testing.servers import MilvaneProcess

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="module")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvaneProcess]:
    """A server in which no other test leaves collections."""
    with MilvaneProcess(tmp_path_factory.mktemp("empty") / "data") as process:
        yield process


def a_session(uri: str, environment: dict[str, str]) -> list[str]:
    """Run the session; return what it printed, a line for each call."""
    run = subprocess.run(
        [sys.executable, SCRIPTS / "session.py", uri],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


FORGOTTEN = {
    "collection_id",
    "created_timestamp",
    "description",
    "field_id",
    "input_field_ids",
    "output_field_ids",
}
"""What Milvus Lite alone does not tell of a collection, and our process does."""


def remembered(answer: Any) -> Any:
    """Leave out what Milvus Lite alone does not tell."""
    if isinstance(answer, list):
        return [remembered(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    kept = {key: remembered(each) for key, each in answer.items() if key not in FORGOTTEN}
    for function in kept.get("functions", ()):
        del function["id"]
    return kept


def answers_of(lines: list[str]) -> list[Any]:
    """Read a session."""
    return [remembered(json.loads(line)) for line in lines]


def test_a_session_is_the_same_with_and_without_the_gateway(
    empty_server: MilvaneProcess, bare_lite_uri: str, client_environment: dict[str, str]
) -> None:
    """Every result and every refusal is equal, call by call, but for what our process adds."""
    through = answers_of(a_session(empty_server.grpc_uri, client_environment))
    direct = answers_of(a_session(bare_lite_uri, client_environment))
    assert len(direct) > 75
    for hit in next(each["search bm25"] for each in direct if "search bm25" in each)[0]:
        hit["distance"] = -hit["distance"]  # Milvus tells the best one highest, Milvus Lite lowest
    assert through == direct
