"""What the media store has after the server was killed in the middle of uploads."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from media_shops import make_auth, oss2
from milvane.testing.servers import MilvaneProcess

OLD, NEW = b"old" * 1_000_000, b"new" * 2_000_000


@pytest.mark.slow
def test_kill_in_the_middle_leaves_whole_objects(tmp_path: Path) -> None:
    """After a kill an object is the acknowledged one, whole; nothing else is left on the disk."""
    data_dir = tmp_path / "data"
    contents, drafts = data_dir / "media" / "contents", data_dir / "media" / "incoming"
    with MilvaneProcess(data_dir) as server:
        auth = make_auth(data_dir)
        bucket = oss2.Bucket(auth, server.http_url, "002test")
        bucket.put_object("a", OLD)
        url = bucket.sign_url("GET", "a", 600)
        target = bucket.sign_url("PUT", "a", 600).removeprefix(server.http_url)
        head = f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(NEW)}\r\n\r\n"
        address = ("127.0.0.1", urlsplit(server.http_url).port)
        with socket.create_connection(address) as connection:
            connection.sendall(head.encode() + NEW[:-1])
            while not any(path.stat().st_size for path in drafts.iterdir()):
                assert httpx.get(url).content == OLD  # the server lives, and still has the old one
            server.kill()
        assert len(list(drafts.iterdir())) == 1
        server.start()
        assert list(drafts.iterdir()) == []
        assert len(list(contents.iterdir())) == 1
        assert httpx.get(url).content == OLD
        assert bucket.put_object("a", NEW).status == 200
        server.kill()
        server.start()
        assert httpx.get(url).content == NEW
        assert len(list(contents.iterdir())) == 1
