"""Collections without embedding functions: the gateway must be as good as absent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


def test_a_session_is_the_same_with_and_without_the_gateway(
    empty_server: MilvaneProcess, bare_lite_uri: str, client_environment: dict[str, str]
) -> None:
    """Every result and every refusal is equal, call by call."""
    through = a_session(empty_server.grpc_uri, client_environment)
    direct = a_session(bare_lite_uri, client_environment)
    assert len(direct) > 75
    assert [json.loads(line) for line in through] == [json.loads(line) for line in direct]
