"""The interactive page about the HTTP APIs, in a browser that reaches nothing but the server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

CLIENT = "chromium"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not on this machine")
def test_page_shows_every_operation_and_asks_nobody_else(http_url: str, tmp_path: Path) -> None:
    """Shows every operation of the APIs, offline, and asks nobody but the server."""
    account = tmp_path / "net.json"
    command = [
        "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={account}",
        "--virtual-time-budget=20000", "--dump-dom", f"{http_url}/docs",
    ]  # fmt: skip
    page = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    shown = re.findall(r'class="opblock opblock-(\w+)"', page)
    paths = re.findall(r'class="opblock-summary-path[^"]*" data-path="([^"]+)"', page)
    with urllib.request.urlopen(f"{http_url}/openapi.json") as answer:  # noqa: S310 - our server
        described = json.load(answer)["paths"]
    assert len(shown) == sum(len(operations) for operations in described.values()) > 30
    assert set(paths) == set(described)
    asked = requests_of(account, http_url)
    assert f"{http_url}/openapi.json" in asked
    assert all(url.startswith(f"{http_url}/") for url in asked)


def requests_of(account: Path, origin: str) -> set[str]:
    """Read what a page asked for, and not what the browser asks its makers for on its own."""
    content = json.loads(account.read_text())
    begun = content["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    starts = [event.get("params", {}) for event in content["events"] if event["type"] == begun]
    return {start["url"] for start in starts if start.get("initiator") == origin}
