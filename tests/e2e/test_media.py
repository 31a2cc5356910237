"""Media kept by the command line and by the documented example, on a whole server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from milvane.testing.servers import MilvaneProcess

UPLOAD = Path(__file__).parent.parent / "conformance" / "scripts" / "oss_upload.py"


def run(*arguments: str | Path, **environment: str) -> str:
    """Run a program of Python; gives what it prints."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_media_is_kept_and_read_by_address(tmp_path: Path) -> None:
    """The command's and the example's addresses give the files until the key is revoked."""
    data_dir = tmp_path / "data"
    for name in ("banana.JPEG", "orange.JPEG"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    with MilvaneProcess(data_dir) as server:
        media = ("-m", "milvane.cli", "media")
        made = run(*media, "keys", "create", "test", "--data-dir", data_dir).split()
        keys = dict(line.split("=", 1) for line in made)
        printed = run(UPLOAD, server.http_url, tmp_path, **keys).splitlines()
        assert sum("Upload successful" in line for line in printed) == 2
        urls = [line for line in printed if line.startswith("http")]
        put = ("put", tmp_path / "banana.JPEG", tmp_path / "orange.JPEG", "--url", server.http_url)
        urls += run(*media, *put, "--data-dir", data_dir).split()
        names = ["banana.JPEG", "orange.JPEG"] * 2
        for url, name in zip(urls, names, strict=True):
            answer = httpx.get(url)
            assert answer.content == name.encode() * 1000
            assert answer.headers["content-type"] == "image/jpeg"
        assert keys["OSS_ACCESS_KEY_ID"] in run(*media, "keys", "list", "--data-dir", data_dir)
        run(*media, "keys", "revoke", keys["OSS_ACCESS_KEY_ID"], "--data-dir", data_dir)
        assert [httpx.get(url).status_code for url in urls[:2]] == [403, 403]
        assert '"PUT /{bucket}/{key}"' in httpx.get(f"{server.http_url}/metrics").text
        assert httpx.get(f"{server.http_url}/api/v1/files/x").status_code == 404
