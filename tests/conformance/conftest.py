"""Servers that several conformance tests talk to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="module")
def bare_lite_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Milvus Lite without anything of ours, in a process of its own."""
    folder = tmp_path_factory.mktemp("bare")
    command = [sys.executable, SCRIPTS / "bare_lite.py", folder / "data"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()
