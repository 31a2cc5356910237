"""The client for event loops, of the oldest and the newest supported pymilvus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from milvane.testing.servers import MilvaneProcess

SCRIPT = Path(__file__).parent / "scripts" / "async_session.py"


def test_asynchronous_client_works_with_raw_text(
    server: MilvaneProcess, client_environment: dict[str, str]
) -> None:
    """Create, insert, search, rank, upsert and delete do what the waiting client's calls do."""
    run = subprocess.run(
        [sys.executable, SCRIPT, server.grpc_uri],
        env=client_environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    code, message = seen.pop("refused")
    assert code == 65535
    assert "empty string" in message
    oldest = "oldest-client" in client_environment.get("PYTHONPATH", "")
    assert seen.pop("version").startswith("2.6." if oldest else "3.")
    found = seen.pop("search")
    assert [hits[0] for hits in found] == [3, 2, 1, 0]
    assert seen.pop("hybrid")[0] == 3
    assert seen == {"inserted": 4, "after upsert": [1, 3], "after delete": 1}
