"""What several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from milvane.testing.servers import MilvaneProcess

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvaneProcess]:
    """One real server for all tests that leave no traces in it."""
    with MilvaneProcess(tmp_path_factory.mktemp("server") / "data") as process:
        yield process


@pytest.fixture(params=["newest", "oldest"])
def client_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Environment of a program that sees the newest or the oldest clients that are tested."""
    environment = dict(os.environ)
    if request.param == "oldest":
        environment["PYTHONPATH"] = str(ROOT / ".venv" / "oldest-client")
    return environment
