"""REST and gRPC on one port, and clients that speak neither."""

from __future__ import annotations

import resource
import socket
import subprocess
from pathlib import Path

import httpx
import pytest
from pymilvus import MilvusClient

from milvane.testing.servers import MilvaneProcess
from rest_collections import TEXTS, Post, create


def test_both_protocols_share_the_port(server: MilvaneProcess, post: Post, name: str) -> None:
    """What one client writes the other reads."""
    create(post, name)
    client = MilvusClient(uri=server.grpc_uri)
    client.insert(name, [{"id": 1, "document": TEXTS[0]}])
    post("entities/insert", collectionName=name, data=[{"id": 2, "document": TEXTS[3]}])
    (hits,) = client.search(name, ["space travel"], anns_field="dense", limit=1)
    assert hits[0]["id"] == 2
    found = post("entities/search", collectionName=name, data=["pet"], annsField="dense", limit=1)
    assert found["data"][0]["id"] == 1
    client.close()


def test_server_may_open_as_many_files_as_its_user_may(server: MilvaneProcess) -> None:
    """A shell's low limit does not limit the connections."""
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard or soft >= 65536


def test_port_may_be_grpc_alone(tmp_path: Path) -> None:
    """Turned off, REST is not there, and gRPC is as it was."""
    switch = {"MILVANE_GATEWAY__REST": "false"}
    with MilvaneProcess(tmp_path / "data", environment=switch) as server:
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{server.grpc_uri}/v2/vectordb/collections/list", json={}, timeout=5)
        client = MilvusClient(uri=server.grpc_uri)
        assert client.list_collections() == []
        client.close()


def test_curl_speaks_to_the_port(server: MilvaneProcess) -> None:
    """The commonest client of all, with a token that an open server does not ask for."""
    run = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--max-time", "20"),
            *("--header", "Authorization: Bearer root:Milvus"),
            *("--header", "Content-Type: application/json"),
            *("--data", "{}", f"{server.grpc_uri}/v2/vectordb/databases/list"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"code":0' in run.stdout
    assert '"default"' in run.stdout


@pytest.mark.parametrize(
    "said",
    [b"nonsense\r\n\r\n", b"POST /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"],
    ids=["no protocol", "huge header"],
)
def test_malformed_request_is_answered_and_ended(server: MilvaneProcess, said: bytes) -> None:
    """The server says that it is no HTTP, closes, and lives."""
    host, _, port = server.grpc_uri.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(said)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
