"""SIGTERM before the server is ready."""

from __future__ import annotations

import json
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.inference.weights import folder_of
from milvane.testing.servers import MilvaneProcess
from weights import default_weights_dir


def processes_with(argument: str) -> list[str]:
    """List the command lines that have something in an argument."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            found.append(each.read_text())
    return [line for line in found if argument in line]


def read_until(server: MilvaneProcess, said: str) -> None:
    """Wait until the server's log says something."""
    assert server.process.stderr is not None
    for line in server.process.stderr:
        if said in line:
            return
    raise AssertionError(f"the server ended without saying {said!r}")


def stop(server: MilvaneProcess) -> None:
    """Stop a server that starts, which is to be like stopping one that runs."""
    assert server.process.stderr is not None
    server.process.terminate()
    said = server.process.stderr.read()
    assert server.wait() == 0
    assert "Traceback" not in said
    assert not processes_with(str(server.data_dir))


@pytest.mark.parametrize(
    "moment",
    [
        "milvane-server.lock",
        "the embedded Milvus Lite is ready",
        "Loaded all-minilm-l6-v2",
        "the console's operator is",
        "stand in for",
    ],
)
def test_server_that_starts_stops_as_one_that_runs(tmp_path: Path, moment: str) -> None:
    """It exits with 0, leaves no process behind, and the next one finds its data in order."""
    server = MilvaneProcess(tmp_path / "data", environment={"MILVANE_SERVER__LOG_LEVEL": "DEBUG"})
    server.begin(subprocess.PIPE)
    read_until(server, moment)
    stop(server)

    with MilvaneProcess(tmp_path / "data") as later:
        asked = {"model": "text-embedding-v4", "input": "a"}
        assert httpx.post(f"{later.http_url}/v1/embeddings", json=asked).status_code == 200


def test_server_that_waits_for_another_one_stops_at_once(tmp_path: Path) -> None:
    """Nobody has to wait until servers that run weights elsewhere are given up."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in ("config.json", "tokenizer.json"):
        (bare / file).symlink_to(folder_of(ALL_MINILM_L6_V2, default_weights_dir()) / file)
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        port = elsewhere.getsockname()[1]
        patience = dict.fromkeys(
            ("start_timeout_s", "request_timeout_s", "attempt_timeout_s"), 3600
        )
        remote = {
            "urls": [f"http://127.0.0.1:{port}"], "dialect": "openai", "weights": str(bare),
            "model": "any", **patience,
        }  # fmt: skip
        server = MilvaneProcess(
            tmp_path / "data",
            environment={
                "MILVANE_INFERENCE__REMOTE": json.dumps({"other": remote}),
                "MILVANE_DEPLOYMENTS": json.dumps({"*": "other"}),
            },
        )
        server.begin(subprocess.PIPE)
        asking, _ = elsewhere.accept()
        with asking:
            stop(server)
