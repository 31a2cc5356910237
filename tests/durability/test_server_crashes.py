"""What survives when the server, the embedded Milvus Lite, or both are killed under load."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crashes import (
    SMALL_MEMORY,
    Crowd,
    Ledger,
    check,
    crash,
    create,
    kill_both,
    kill_lite,
    kill_server,
)
from milvane.testing.servers import MilvaneProcess


@pytest.mark.parametrize("kill", [kill_server, kill_lite, kill_both])
def test_acknowledged_rows_survive_a_kill(
    tmp_path: Path, kill: Callable[[MilvaneProcess], None]
) -> None:
    """Every acknowledged row is there exactly once, with the vector of its own text."""
    ledger = Ledger()
    with MilvaneProcess(tmp_path / "data", environment=SMALL_MEMORY) as server:
        create(server.grpc_uri, ledger.rows)
        with Crowd(server.grpc_uri, ledger):
            ledger.wait_for_more(120)
            kill(server)
            ledger.wait_for_more(120)
        check(server, ledger)


def test_random_kills_lose_double_and_hide_nothing(tmp_path: Path) -> None:
    """No row is lost, doubled or invented, and no reader counts fewer than it did before."""
    assert crash(tmp_path / "data", kills=10, seed=1).acknowledged


def test_terminate_under_load_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM lets running calls finish, flushes, and exits 0 within ten seconds."""
    ledger = Ledger()
    with MilvaneProcess(tmp_path / "data", environment=SMALL_MEMORY) as server:
        create(server.grpc_uri, ledger.rows)
        with Crowd(server.grpc_uri, ledger):
            ledger.wait_for_more(200)
            begun = time.monotonic()
            assert server.terminate() == 0
            assert time.monotonic() - begun < 10
    with MilvaneProcess(tmp_path / "data") as again:
        check(again, ledger)
