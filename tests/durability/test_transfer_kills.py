"""A transfer that dies in the middle, and is resumed: everything arrives, once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from lite_rows import running_lite
from milvane.testing.servers import MilvaneProcess

BARE_LITE = Path(__file__).parent.parent / "conformance" / "scripts" / "bare_lite.py"
DIMENSION = 640
ROWS = 1_800


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Begin a transfer."""
    return subprocess.Popen(
        [sys.executable, "-m", "milvane.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"},
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for a process to have done something that only its files tell."""
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def pages_written(state: Path, name: str) -> int:
    """Read how many pages of a collection are done."""
    if not state.exists():
        return 0
    collections = json.loads(state.read_text())["collections"]
    pages = [
        partition["pages"]
        for each in collections
        if each["name"] == name
        for partition in each["partitions"].values()
    ]
    return sum(pages)


def make(client: MilvusClient, name: str, *, auto_id: bool) -> None:
    """Make a collection of ready-made vectors."""
    schema = client.create_schema(auto_id=auto_id)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    client.create_collection(name, schema=schema)
    vectors = np.random.default_rng(7).normal(size=(ROWS, DIMENSION)).astype(np.float32)
    for first in range(0, ROWS, 600):
        rows = [
            {"vector": vectors[row]} if auto_id else {"id": row * 3, "vector": vectors[row]}
            for row in range(first, first + 600)
        ]
        client.insert(name, rows)


def ids_of(client: MilvusClient, name: str) -> list[int]:
    """List the keys of all rows, as often as each is there."""
    return sorted(row["id"] for row in client.query(name, filter="id >= 0", output_fields=["id"]))


@pytest.fixture
def bare_uri(tmp_path: Path) -> Iterator[str]:
    """Milvus Lite by itself."""
    command = [sys.executable, BARE_LITE, tmp_path / "bare"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def test_killed_transfer_is_resumed(server: MilvaneProcess, bare_uri: str, tmp_path: Path) -> None:
    """Killed in each of two collections, the transfer ends with equal counts and checksums."""
    here, there = MilvusClient(server.grpc_uri), MilvusClient(bare_uri)
    make(here, "kept_keys", auto_id=False)
    make(here, "made_keys", auto_id=True)
    command = (
        *("migrate", "--from", server.grpc_uri, "--to", bare_uri),
        *("--collections", "kept_keys,made_keys"),
    )
    state = tmp_path / "milvane-migration.json"
    for name, resume in (("kept_keys", ()), ("made_keys", ("--resume",))):
        with start(*command, *resume, cwd=tmp_path) as killed:
            wait_until(lambda name=name: pages_written(state, name) > 0, killed)
            killed.kill()
        assert 0 < pages_written(state, name) < 4
    with start(*command, cwd=tmp_path) as careless:
        assert "go on with --resume" in careless.communicate()[1]
    with start(*command, "--resume", cwd=tmp_path) as resumed:
        output, errors = resumed.communicate()
    assert resumed.returncode == 0, output + errors
    assert (
        len(re.findall(rf"{ROWS} rows copied, checksum \w+; the same at the target", output)) == 2
    )
    for name in ("kept_keys", "made_keys"):
        assert ids_of(there, name) == ids_of(here, name)
        here.drop_collection(name)
    assert not state.exists()
    here.close()
    there.close()


async def test_interrupted_export_of_a_data_directory_is_resumed(tmp_path: Path) -> None:
    """Ctrl-C leaves a state that says how to go on, also without a server."""
    data_dir = tmp_path / "data"
    async with running_lite(data_dir) as (_, client):
        for name in ("one", "two", "three"):
            await client.create(name)
            await client.insert(name, range(200))
    command = ("export", "backup", "--from", str(data_dir))
    state = tmp_path / "backup" / "progress.json"
    with start(*command, cwd=tmp_path) as stopped:
        wait_until(lambda: state.exists() or stopped.poll() is not None, stopped)
        stopped.send_signal(signal.SIGINT)
        _, errors = stopped.communicate()
    if stopped.returncode:  # it may have been quicker than the signal
        assert stopped.returncode == 130
        assert "go on with --resume" in errors
    with start(*command, "--resume", cwd=tmp_path) as resumed:
        output, errors = resumed.communicate()
    assert resumed.returncode == 0, output + errors
    assert output.count("200 rows copied") == 3
    assert "All is well" in output
