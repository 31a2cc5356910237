"""Unmodified clients over TLS: gRPC and REST on the Milvus port, and the HTTP APIs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from certificates import Authority, Pair
from milvane.testing.servers import MilvaneProcess

SCRIPT = Path(__file__).parent / "scripts" / "tls_session.py"


@dataclass
class Secured:
    """A server that asks for a certificate and for a user, and one client's certificate."""

    server: MilvaneProcess
    authority: Authority
    client: Pair


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A server that trusts one authority's clients."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    pair = authority.issue("server")
    environment = {
        "MILVANE_TLS__CERTIFICATE": str(pair.certificate),
        "MILVANE_TLS__PRIVATE_KEY": str(pair.key),
        "MILVANE_TLS__CLIENT_CA": str(authority.file),
        "MILVANE_ACCESS__USERS": '{"root": "Milvus"}',
    }
    with MilvaneProcess(folder / "data", environment=environment) as server:
        yield Secured(server, authority, authority.issue("client"))


def test_pymilvus_works_with_a_certificate(
    secured: Secured, client_environment: dict[str, str]
) -> None:
    """The newest and the oldest client search raw text; a certificate is no password."""
    command = [sys.executable, SCRIPT, secured.server.grpc_uri, secured.authority.file]
    command += [secured.client.certificate, secured.client.key]
    run = subprocess.run(command, capture_output=True, text=True, env=client_environment)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    oldest = "oldest-client" in client_environment.get("PYTHONPATH", "")
    assert seen["version"].startswith("2.6." if oldest else "3.")
    assert seen["id"] == 1
    assert seen["refused"]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A server for gRPC alone, that asks for no certificate."""
    folder = tmp_path_factory.mktemp("trusted")
    authority = Authority(folder)
    pair = authority.issue("server")
    environment = {
        "MILVANE_TLS__CERTIFICATE": str(pair.certificate),
        "MILVANE_TLS__PRIVATE_KEY": str(pair.key),
        "MILVANE_ACCESS__USERS": '{"root": "Milvus"}',
        "MILVANE_GATEWAY__REST": "false",
    }
    with MilvaneProcess(folder / "data", environment=environment) as server:
        yield Secured(server, authority, pair)


def test_pymilvus_trusts_a_server_by_its_authority(
    trusted: Secured, client_environment: dict[str, str]
) -> None:
    """`secure=True` and `server_pem_path` are all that is needed to be encrypted."""
    command = [sys.executable, SCRIPT, trusted.server.grpc_uri, trusted.authority.file]
    run = subprocess.run(command, capture_output=True, text=True, env=client_environment)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["id"] == 1


def curl(secured: Secured, url: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Fetch an address as a shell does."""
    return subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--max-time", "20"),
            *("--cacert", str(secured.authority.file), *more, url),
        ],
        capture_output=True,
        text=True,
    )


def test_curl_speaks_to_both_ports(secured: Secured) -> None:
    """REST on the Milvus port and the HTTP APIs take the same certificate, and ask for a key."""
    shown = ("--cert", str(secured.client.certificate), "--key", str(secured.client.key))
    key = ("--header", "Authorization: Bearer root:Milvus")
    rest = f"{secured.server.grpc_uri}/v2/vectordb/databases/list"
    assert '"code":0' in curl(secured, rest, *shown, *key, "--data", "{}").stdout
    assert '"code":1800' in curl(secured, rest, *shown, "--data", "{}").stdout
    apis = f"{secured.server.http_url}/v1/models"
    assert '"list"' in curl(secured, apis, *shown, *key).stdout
    for url in (rest, apis):
        refused = curl(secured, url, *key)
        assert refused.returncode != 0
        assert refused.stdout == ""


def test_address_that_the_server_tells_is_secure(secured: Secured) -> None:
    """An absolute address in an answer can be used as it is."""
    assert secured.server.http_url.startswith("https://")
    shown = ("--cert", str(secured.client.certificate), "--key", str(secured.client.key))
    policy = f"{secured.server.http_url}/api/v1/uploads?action=getPolicy&model=text-embedding-v4"
    key = ("--header", "Authorization: Bearer root:Milvus")
    answer = json.loads(curl(secured, policy, *shown, *key).stdout)
    assert answer["data"]["upload_host"].startswith("https://")


def test_nothing_is_said_in_the_clear(secured: Secured) -> None:
    """A client without TLS is closed on both ports."""
    for address in (secured.server.grpc_uri, secured.server.http_url):
        with pytest.raises((httpx.RemoteProtocolError, httpx.NetworkError)):
            httpx.get(address.replace("https://", "http://") + "/healthz", timeout=10)


def test_server_without_a_usable_key_does_not_start(tmp_path: Path) -> None:
    """A pair that does not belong together is told before anything is opened."""
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    environment = {
        "MILVANE_TLS__CERTIFICATE": str(one.certificate),
        "MILVANE_TLS__PRIVATE_KEY": str(other.key),
    }
    server = MilvaneProcess(tmp_path / "data", environment=environment)
    with pytest.raises(RuntimeError, match=r"other.key is not the key of"):
        server.start()
    assert not (tmp_path / "data").exists()
