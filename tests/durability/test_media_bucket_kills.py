"""A whole server whose media is in a bucket: what clients see of it, and what kills leave there."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from elsewhere import Elsewhere, served_elsewhere
from media_shops import make_auth, oss2
from milvane.testing.servers import MilvaneProcess

OLD, NEW = b"old" * 1_000_000, b"new" * 2_000_000


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """An empty store with a bucket."""
    with served_elsewhere() as store:
        yield store


@pytest.fixture
def server(tmp_path: Path, elsewhere: Elsewhere) -> Iterator[MilvaneProcess]:
    """A server whose media store is on the bucket."""
    with MilvaneProcess(tmp_path / "data", environment=elsewhere.environment()) as server:
        yield server


def begin_put(bucket: oss2.Bucket, server: MilvaneProcess, content: bytes) -> socket.socket:
    """Send all of a request that puts an object, and wait for nothing."""
    target = bucket.sign_url("PUT", "a", 600).removeprefix(server.http_url)
    head = f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", urlsplit(server.http_url).port))
    connection.sendall(head.encode() + content)
    return connection


def age_leftovers(data_dir: Path, hours: int) -> None:
    """Have what was being put be so much older."""
    with closing(sqlite3.connect(data_dir / "milvane.db")) as records, records:
        records.execute("UPDATE media_contents SET since = since - ? * 3600000000", (hours,))


@pytest.mark.slow
def test_kill_in_the_middle_leaves_whole_objects(
    server: MilvaneProcess, elsewhere: Elsewhere
) -> None:
    """After kills at each step the object is the acknowledged one; what is left goes in time."""
    bucket = oss2.Bucket(make_auth(server.data_dir), server.http_url, "002test")
    bucket.put_object("a", OLD)
    url = bucket.sign_url("GET", "a", 600)
    # What was stored and not recorded stays at first: somebody may still have been putting it.
    for step, hours, left in (("answer", 0, [OLD, NEW]), ("body", 2, [OLD])):
        elsewhere.halts_at = step
        elsewhere.reached.clear()
        elsewhere.goes_on.clear()
        with begin_put(bucket, server, NEW):
            assert elsewhere.reached.wait(30)
            assert httpx.get(url).content == OLD  # the server lives, and still has the old one
            server.kill()
        elsewhere.halts_at = ""
        elsewhere.goes_on.set()
        age_leftovers(server.data_dir, hours)
        server.start()
        assert httpx.get(url).content == OLD
        assert elsewhere.contents() == left
        assert list((server.data_dir / "media" / "incoming").iterdir()) == []
    assert bucket.put_object("a", NEW).status == 200
    server.kill()
    server.start()
    assert httpx.get(url).content == NEW
    assert elsewhere.contents() == [NEW]
    assert elsewhere.refusals == []


@pytest.mark.slow
def test_clients_see_no_difference(
    server: MilvaneProcess, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """The unmodified client and the command line keep, read, sign and delete as in a folder."""
    bucket = oss2.Bucket(make_auth(server.data_dir), server.http_url, "002test")
    (tmp_path / "a.png").write_bytes(NEW)
    assert bucket.put_object_from_file("d/a.png", str(tmp_path / "a.png")).status == 200
    assert bucket.get_object("d/a.png").read() == NEW  # compares CRC-64 with ours
    assert bucket.get_object("d/a.png", byte_range=(5, 9)).read() == NEW[5:10]
    assert bucket.head_object("d/a.png").content_length == len(NEW)
    url = bucket.sign_url("GET", "d/a.png", 600)
    assert httpx.get(url).content == NEW

    put = [sys.executable, "-m", "milvane.cli", "media", "put", tmp_path / "a.png"]
    options = ["--url", server.http_url, "--data-dir", server.data_dir]
    run = subprocess.run(
        [*put, *options],
        env={**os.environ, **elsewhere.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert httpx.get(run.stdout.strip()).content == NEW
    assert elsewhere.contents() == [NEW]  # equal, so kept once
    assert list((server.data_dir / "media" / "contents").iterdir()) == []

    elsewhere.failing = {"PUT", "GET"}
    with pytest.raises(oss2.exceptions.ServerError) as failure:
        bucket.put_object("b", b"new")
    assert (failure.value.status, failure.value.code) == (503, "ServiceUnavailable")
    assert httpx.get(url).status_code == 503
    elsewhere.failing = set()
    elsewhere.cut = {"GET"}
    with pytest.raises(httpx.RemoteProtocolError):  # it breaks off, and does not seem whole
        httpx.get(url)
    elsewhere.cut = set()
    assert httpx.get(url).content == NEW
    assert not bucket.object_exists("b")
    bucket.delete_object("d/a.png")
    assert httpx.get(url).status_code == 404
    assert elsewhere.contents() == [NEW]  # another object still has it
