"""Debian's Prometheus and Alertmanager with the ready-made configuration, against a real server."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

CLIENT = "prometheus"
FOLDER = Path(__file__).parent.parent.parent / "deploy" / "prometheus"
PROMETHEUS = shutil.which("prometheus")
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
PATIENCE_S = 90

pytestmark = pytest.mark.skipif(
    not (PROMETHEUS and ALERTMANAGER), reason="Prometheus is not on this machine"
)


@contextmanager
def running_webhook() -> Iterator[tuple[int, Queue[dict[str, Any]]]]:
    """Listen for what the Alertmanager tells; gives the port and what has come."""
    told: Queue[dict[str, Any]] = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, told
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """Run a program while the context is open."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str) -> Any:
    """Read JSON; nothing while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - on this machine
            return json.load(answer)["data"]
    except (urllib.error.URLError, OSError):
        return None


def call_wrongly(http_url: str) -> None:
    """Make a request that is refused."""
    request = urllib.request.Request(  # noqa: S310 - our server
        f"{http_url}/v1/embeddings", b"{}", {"content-type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=10)  # noqa: S310


def write(folder: Path, name: str, *changes: tuple[str, str]) -> None:
    """Copy a file of the configuration, with some things replaced; each must be there."""
    text = (FOLDER / name).read_text()
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text)
        assert count, pattern
    (folder / name).write_text(text)


@contextmanager
def watching(folder: Path, http_url: str, webhook_port: int) -> Iterator[str]:
    """Run both programs, looking once a second; gives the address of Prometheus."""
    ports = free_port(), free_port()
    write(folder, "milvane.rules.yml", (r"for: \d+m", "for: 0s"))
    write(
        folder,
        "prometheus.yml",
        (r"_interval: 15s", "_interval: 1s"),
        (r"127\.0\.0\.1:8080", http_url.removeprefix("http://")),
        (r"127\.0\.0\.1:9093", f"127.0.0.1:{ports[1]}"),
    )
    write(
        folder,
        "alertmanager.yml",
        (r"group_wait: 30s", "group_wait: 1s"),
        (r"127\.0\.0\.1:9999", f"127.0.0.1:{webhook_port}"),
    )
    prometheus = [
        str(PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{ports[0]}",
    ]
    alertmanager = [
        str(ALERTMANAGER),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alerts'}",
        f"--web.listen-address=127.0.0.1:{ports[1]}",
        "--cluster.listen-address=",
    ]
    with ExitStack() as stack:
        stack.enter_context(running(alertmanager, folder / "alertmanager.log"))
        stack.enter_context(running(prometheus, folder / "prometheus.log"))
        yield f"http://127.0.0.1:{ports[0]}/api/v1"


def wait_for_call(http_url: str, told: Queue[dict[str, Any]], alert: str) -> dict[str, Any]:
    """Make bad requests until an alert is told; gives it."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        call_wrongly(http_url)
        try:
            message = told.get(timeout=0.05)
        except Empty:
            continue
        for each in message["alerts"]:
            if each["labels"]["alertname"] == alert:
                return each
    raise AssertionError(f"{alert} was not told")


@pytest.mark.timeout(180)
def test_refused_callers_are_told_at_a_webhook(http_url: str, tmp_path: Path) -> None:
    """Scrapes the server, evaluates every rule, and has the Alertmanager tell of one that fires."""
    with (
        running_webhook() as (port, told),
        watching(tmp_path, http_url, port) as prometheus,
    ):
        alert = wait_for_call(http_url, told, "MilvaneCallersRefused")
        assert alert["status"] == "firing"
        assert alert["labels"]["severity"] == "info"
        assert alert["labels"]["instance"] == http_url.removeprefix("http://")
        assert "are refused" in alert["annotations"]["summary"]
        groups = ask(f"{prometheus}/rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
        assert firing == {"MilvaneCallersRefused"}
        [target] = ask(f"{prometheus}/targets")["activeTargets"]
        assert (target["labels"]["job"], target["health"]) == ("milvane", "up")
