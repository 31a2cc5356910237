"""What several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from milvane.testing.servers import MilvaneProcess
from postgres import PostgresServer, find_programs, running_postgres

ROOT = Path(__file__).parent.parent

collect_ignore = ["heavy"]  # its clients are in an environment of their own: make conformance


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvaneProcess]:
    """One real server for all tests that leave no traces in it."""
    with MilvaneProcess(tmp_path_factory.mktemp("server") / "data") as process:
        yield process


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One database server for all tests of a process."""
    programs = find_programs()
    assert programs is not None
    with running_postgres(programs) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"] if find_programs() else ["sqlite"])
def database_url(request: pytest.FixtureRequest) -> Iterator[SecretStr | None]:
    """Address of an empty database: SQLite's default, and a server's where one is installed."""
    if request.param == "sqlite":
        yield None
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture(params=["newest", "oldest"])
def client_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Environment of a program that sees the newest or the oldest clients that are tested."""
    environment = dict(os.environ)
    if request.param == "oldest":
        environment["PYTHONPATH"] = str(ROOT / ".venv" / "oldest-client")
    return environment
