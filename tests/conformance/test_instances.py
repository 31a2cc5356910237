"""Several Milvus endpoints behind one server, and servers that want to know who asks."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException

from milvane.testing.servers import MilvaneProcess

TEXTS = ["a red apple", "a ship at sea", "a symphony in four movements"]


def use(client: MilvusClient, name: str) -> int:
    """Create a collection with a function, fill it, search it; return the first hit's id."""
    schema = client.create_schema(description="the same code everywhere")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=200)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    params = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
    )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [{"id": i, "document": text} for i, text in enumerate(TEXTS)])
    (hits,) = client.search(name, ["classical music"], anns_field="dense", limit=1)
    return int(hits[0]["id"])


@pytest.fixture(scope="module")
def two_instances(
    bare_lite_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Addresses of the embedded instance and of a remote one behind the same server."""
    folder = tmp_path_factory.mktemp("instances")
    config = folder / "milvane.toml"
    config.write_text(
        f"""
        [[instances]]
        name = "embedded"

        [[instances]]
        name = "elsewhere"
        uri = "{bare_lite_uri}"
        grpc_port = 0
        token = "root:Milvus"
        """
    )
    with MilvaneProcess(folder / "data", arguments=("--config", str(config))) as server:
        elsewhere = re.search(r"elsewhere on (http://[\d.:]+)", server.ready_line)
        assert elsewhere
        yield server.grpc_uri, elsewhere[1]


def test_same_code_runs_on_both(two_instances: tuple[str, str]) -> None:
    """A collection is created, filled and searched alike, and each instance has its own."""
    for number, uri in enumerate(two_instances):
        client = MilvusClient(uri=uri)
        assert use(client, f"same_{number}") == 2
        assert client.list_collections() == [f"same_{number}"]
        client.close()


def test_functions_are_kept_by_the_remote_instance(
    two_instances: tuple[str, str], bare_lite_uri: str
) -> None:
    """The gateway has no state: the collection upstream holds its functions, hidden by it."""
    client, behind = MilvusClient(uri=two_instances[1]), MilvusClient(uri=bare_lite_uri)
    use(client, "kept")
    assert "milvane.functions" in behind.describe_collection("kept")["properties"]
    description = client.describe_collection("kept")
    assert "milvane.functions" not in description["properties"]
    assert description["functions"][0]["name"] == "embed"
    client.close()
    behind.close()


def test_remote_instance_that_is_absent_is_named(tmp_path: Path) -> None:
    """The start fails with the address that does not answer."""
    config = tmp_path / "milvane.toml"
    config.write_text('[[instances]]\nname = "gone"\nuri = "http://127.0.0.1:9"\n')
    with pytest.raises(RuntimeError, match=r"'gone' at 127\.0\.0\.1:9 does not answer"):
        MilvaneProcess(tmp_path / "data", arguments=("--config", str(config))).start()


def test_closed_server_lets_in_who_is_known(tmp_path: Path) -> None:
    """A user and a key get in; a wrong password, and none, do not."""
    environment = {
        "MILVANE_ACCESS__USERS": '{"root": "Milvus"}',
        "MILVANE_ACCESS__API_KEYS": '["key-1"]',
    }
    with MilvaneProcess(tmp_path / "data", environment=environment) as server:
        for token in ("root:Milvus", "key-1"):
            client = MilvusClient(uri=server.grpc_uri, token=token)
            assert client.list_collections() == []
            client.close()
        for token in ("root:wrong", "key-2", ""):
            with pytest.raises(MilvusException):
                MilvusClient(uri=server.grpc_uri, token=token, timeout=5).list_collections()
    assert "Milvus'" not in server.log.read_text()


@pytest.fixture(scope="module")
def managed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[MilvaneProcess, httpx.Client]]:
    """A server with the embedded instance alone, and an operator of it."""
    folder = tmp_path_factory.mktemp("managed")
    with (
        MilvaneProcess(folder / "data") as server,
        httpx.Client(base_url=f"{server.http_url}/manage/v1", timeout=30) as client,
    ):
        password = (folder / "data" / "admin-password.txt").read_text().strip()
        reply = client.post("/session", json={"name": "admin", "password": password})
        client.headers["x-csrf-token"] = reply.json()["csrf_token"]
        yield server, client


def test_instance_that_is_added_serves_until_it_is_removed(
    managed: tuple[MilvaneProcess, httpx.Client], bare_lite_uri: str
) -> None:
    """No restart: unmodified clients reach it at once, after a restart too, and then no more."""
    server, operator = managed
    body = {"name": "added", "uri": bare_lite_uri, "token": "root:s3cret"}
    made = operator.post("/instances", json=body)
    assert made.status_code == 201, made.text
    assert (made.json()["is_served"], made.json()["has_token"]) == (True, True)
    client = MilvusClient(uri=f"http://127.0.0.1:{made.json()['grpc_port']}")
    assert use(client, "added_one") == 2
    client.close()
    page = operator.get("/instances/added/collections").json()
    assert "added_one" in [each["name"] for each in page["collections"]]
    assert "s3cret" not in operator.get("/instances").text + operator.get("/audit").text

    server.terminate()
    server.start()
    operator.base_url = f"{server.http_url}/manage/v1"
    ports = operator.get("/server").json()["instance_ports"]
    client = MilvusClient(uri=f"http://127.0.0.1:{ports['added']}")
    assert "added_one" in client.list_collections()
    assert operator.delete("/instances/added").status_code == 204
    while "added" in operator.get("/server").json()["instance_ports"]:
        pass  # it is closed when running calls have ended
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports["added"]), timeout=5)
    client.close()
    assert operator.delete("/instances/embedded").status_code == 409


def test_added_instance_that_cannot_be_reached_holds_nothing_up(
    managed: tuple[MilvaneProcess, httpx.Client],
) -> None:
    """It has a port and says what is wrong once it was called; the server stays ready."""
    server, operator = managed
    made = operator.post("/instances", json={"name": "gone", "uri": "http://127.0.0.1:9"}).json()
    address = f"http://127.0.0.1:{made['grpc_port']}/v2/vectordb/collections/list"
    assert "'gone' at 127.0.0.1:9 does not answer" in httpx.post(address, json={}).text
    [gone] = [
        each for each in operator.get("/instances").json()["instances"] if each["name"] == "gone"
    ]
    assert "does not answer" in gone["trouble"]
    assert httpx.get(f"{server.http_url}/health/ready").status_code == 200
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        body = {"name": "crowded", "uri": "http://127.0.0.1:9", "grpc_port": taken}
        crowded = operator.post("/instances", json=body).json()
    assert (crowded["is_served"], crowded["grpc_port"]) == (False, None)
    assert "cannot listen" in crowded["trouble"]


def shelf(operator: httpx.Client) -> list[dict[str, Any]]:
    """Say how all weights stand."""
    weights: list[dict[str, Any]] = operator.get("/models").json()["weights"]
    return weights


def test_weights_are_unloaded_and_loaded_while_the_server_runs(
    managed: tuple[MilvaneProcess, httpx.Client],
) -> None:
    """Inserts say who can help while they are gone; the command line brings them back."""
    server, operator = managed
    client = MilvusClient(uri=server.grpc_uri)
    use(client, "without")
    [weights] = [each for each in shelf(operator) if "text-embedding-v4" in each["models"]]
    assert (weights["state"], weights["is_wanted"]) == ("loaded", True)
    path = f"/weights/{weights['weights']}"
    assert operator.patch(path, json={"is_loaded": False}).status_code == 202
    while {each["state"] for each in shelf(operator)} != {"unloaded"}:
        pass  # work under way ends first, and what goes with them too
    assert operator.get("/models").json()["engines"] == []
    with pytest.raises(MilvusException, match="milvane models load"):
        client.insert("without", [{"id": 9, "document": "a late row"}], timeout=2)
    assert operator.patch("/weights/nothing", json={"is_loaded": False}).status_code == 404
    command = ["models", "load", "text-embedding-v4", "--data-dir", str(server.data_dir)]
    subprocess.run([sys.executable, "-m", "milvane.cli", *command], check=True, timeout=60)
    while {each["state"] for each in shelf(operator)} != {"loaded"}:
        pass  # another process has changed it, which is seen within a second
    assert client.insert("without", [{"id": 9, "document": "a late row"}])["insert_count"] == 1
    client.close()
