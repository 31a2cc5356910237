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


def test_messages_come_without_the_client_for_code_of_others() -> None:
    """What imports pymilvus's messages by their own name gets them, and no client with them."""
    script = (
        "import sys\n"
        "from milvane.messages import leave_client_out, milvus_pb2\n"
        "leave_client_out()\n"
        "from pymilvus.grpc_gen import milvus_pb2 as theirs\n"
        "print(theirs.InsertRequest is milvus_pb2.InsertRequest, 'pandas' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True False"
