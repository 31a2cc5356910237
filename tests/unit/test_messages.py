"""The protocol's messages without the client library."""

from __future__ import annotations

import subprocess
import sys

from pymilvus.grpc_gen import milvus_pb2 as theirs

from milvane.messages import milvus_pb2 as ours


def test_messages_are_the_clients_own() -> None:
    """One class for each message, whichever way it was reached."""
    assert ours.InsertRequest is theirs.InsertRequest


def test_loading_them_loads_no_client() -> None:
    """A server starts without the client and what that needs."""
    script = (
        "import sys, milvane.messages\n"
        "print(sorted({'pymilvus', 'pandas', 'grpc'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
