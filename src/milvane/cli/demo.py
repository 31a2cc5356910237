"""`milvane demo`: a server on free ports, and a first example against it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from milvane.cli.default_weights import pull_default_weights
from milvane.domain.errors import Internal
from milvane.settings import load_settings

_READY = re.compile(
    r"Milvus protocol on (?P<grpc>http://[^\s,]+).*, HTTP APIs on (?P<http>http://\S+),"
)
_STOP_TIMEOUT_S = 15

_NEXT = """
That was a real server, an unmodified pymilvus and no key. Try next:

  .venv/bin/milvane serve                      keep one running, data in ./milvane-data
  .venv/bin/milvane models list                what is on offer, and what serves it here
  .venv/bin/milvane doctor                     settings, versions, and what is wrong

  curl -s http://127.0.0.1:8080/v1/embeddings -H 'content-type: application/json' \\
       -d '{"model": "text-embedding-v4", "input": "hello"}'

  README.md has the twenty lines of Python that you have just seen at work.
"""


def run_demo() -> int:
    """
    Serve from a temporary folder, run the example as a process of its own, stop.

    Returns:
        The exit status of the example.
    """
    pull_default_weights(load_settings().settings)
    with tempfile.TemporaryDirectory(prefix="milvane-demo-") as folder:
        typer.echo("Starting milvane serve ...")
        server = subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "milvane.cli", "serve", "--data-dir", folder),
                *("--grpc-port", "0", "--http-port", "0"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            grpc_address = _wait_ready(server)
            example = Path(__file__).with_name("example_text_search.py")
            status = subprocess.run(  # noqa: S603 - our own program
                [sys.executable, str(example), grpc_address], check=False
            ).returncode
        finally:
            _stop(server)
    if status == 0:
        typer.echo(_NEXT)
    return status


def _wait_ready(server: subprocess.Popen[str]) -> str:
    """Wait for the ready line; return the address of the Milvus protocol."""
    for line in server.stdout or ():
        typer.echo(line.rstrip())
        if match := _READY.search(line):
            return match["grpc"]
    raise Internal(f"the server ended with status {server.wait()} before it was ready; see above")


def _stop(server: subprocess.Popen[str]) -> None:
    server.terminate()
    try:
        server.wait(timeout=_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if server.stdout is not None:
        server.stdout.close()
    typer.echo(f"\nStopped the server (exit status {server.returncode}).")
