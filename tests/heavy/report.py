"""Run the tests of heavy clients against a real server, and write down what they found."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

from milvane.testing.servers import MilvaneProcess

HEAVY = Path(__file__).parent
ROOT = HEAVY.parent.parent
PAGE = ROOT / "docs" / "conformance.md"
WORDS = {"passed": "passed", "failed": "**failed**", "skipped": "left out"}


def main(arguments: list[str]) -> int:
    """
    Run the tests; after a whole run, write the page.

    Returns:
        The status that pytest ended with.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        with MilvaneProcess(Path(folder) / "data") as server:
            status = run_tests(server, results, arguments)
        if not arguments and results.exists():
            PAGE.write_text(page(json.loads(results.read_text())))
            print(f"wrote {PAGE.relative_to(ROOT)}")
    return status


def run_tests(server: MilvaneProcess, results: Path, arguments: list[str]) -> int:
    """Run pytest in the clients' environment, which has nothing of the server."""
    python = ROOT / ".venv-heavy" / "bin" / "python"
    addresses = {
        "MILVANE_GRPC_URI": server.grpc_uri,
        "MILVANE_HTTP_URL": server.http_url,
        "MILVANE_CONFORMANCE_RESULTS": str(results),
    }
    command = [python, "-m", "pytest", "-c", HEAVY / "pytest.ini", "--rootdir", HEAVY]
    command += ["--confcutdir", HEAVY, *(arguments or [HEAVY])]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, env=environment | addresses, cwd=ROOT, check=False).returncode


def page(tried: list[dict[str, str]]) -> str:
    """Say which client did what, and what was left out."""
    passed = sum(entry["outcome"] == "passed" for entry in tried)
    lines = [
        "<!-- Written by scripts/conformance (make conformance); do not edit. -->",
        "",
        "# Conformance: what unmodified clients did",
        "",
        f"Last run: {datetime.now(timezone.utc).date()}. {passed} of {len(tried)} passed, with "
        f"Python {platform.python_version()} and {node_version()}.",
        "",
        "The server ran with its defaults: the embedded engine and the default weights. Clients",
        "that are light enough are tried by `make test` at every change: pymilvus (oldest and",
        "newest; synchronous, asynchronous and ORM), `openai`, `dashscope` (oldest and newest),",
        "`alibabacloud_searchplat20240529`, and REST through a plain HTTP client.",
        "",
        f"The frameworks' stores ran on pymilvus {pinned('pymilvus')}: langchain-milvus and "
        "milvus-haystack fail with later",
        "ones, whatever the server (langchain-ai/langchain-milvus, issue 130).",
        "",
        "| client | version | what was done | result |",
        "| --- | --- | --- | --- |",
    ]
    for entry in sorted(tried, key=lambda entry: (entry["client"], entry["what"])):
        outcome = WORDS[entry["outcome"]]
        lines.append(f"| {entry['client']} | {entry['version']} | {entry['what']} | {outcome} |")
    return "\n".join([*lines, "", *left_out(tried), ""])


def left_out(tried: list[dict[str, Any]]) -> list[str]:
    """Name the clients that were not tried, with the reason of each."""
    skipped = sorted(
        (entry["reason"], entry["client"]) for entry in tried if entry["outcome"] == "skipped"
    )
    if not skipped:
        return ["Nothing was left out."]
    return [
        f"Left out ({reason}): {', '.join(dict.fromkeys(client for _, client in group))}."
        for reason, group in groupby(skipped, key=lambda pair: pair[0])
    ]


def pinned(package: str) -> str:
    """Say which version of a package the clients' environment has."""
    pins = (ROOT / "requirements" / "heavy.txt").read_text()
    match = re.search(rf"^{package}==(\S+)", pins, re.MULTILINE)
    return match[1] if match else "of any version"


def node_version() -> str:
    """Say which Node there is."""
    if shutil.which("node") is None:
        return "no Node"
    run = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return f"Node {run.stdout.strip().removeprefix('v')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
