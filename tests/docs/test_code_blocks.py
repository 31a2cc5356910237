"""The Python of the README and the tutorial, run as one program against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from milvane.testing.servers import MilvaneProcess

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("page", "printed"),
    [
        ("README.md", "Raw text goes in."),
        ("docs/tutorial/first-search.md", "Use the link at login."),
        (
            "docs/how-to/point-an-sdk-here.md",
            "2 vectors of 1024\n512 ['one', 'text']\n{'token_count': 2}",
        ),
        ("docs/how-to/run-batches.md", "completed with 100 answers\n0 1536\n1 1536"),
        ("docs/how-to/hybrid-search-from-raw-text.md", "[2, 3]"),
        ("docs/how-to/search-images-and-videos.md", "4 rows\n1 1.0000\n3\nfusion 1024"),
    ],
)
def test_code_of_a_page_runs(
    server: MilvaneProcess, page: str, printed: str, tmp_path: Path
) -> None:
    """Only the address is another one; the page says what is printed."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    program = "\n".join(blocks).replace("http://127.0.0.1:19530", server.grpc_uri)
    program = program.replace("http://127.0.0.1:8080", server.http_url)
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == printed


def test_notebook_prints_and_draws_what_it_shows(server: MilvaneProcess, tmp_path: Path) -> None:
    """What stands indented below each block is printed, and each picture is drawn."""
    page = (ROOT / "docs/tutorial/what-vectors-show.md").read_text()
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S))
    prose = re.sub(r"^```python\n.*?^```", "", page, flags=re.M | re.S)
    shown = [line[4:] for line in prose.splitlines() if line.startswith("    ")]
    run = subprocess.run(
        [sys.executable, "-c", program.replace("http://127.0.0.1:8080", server.http_url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == shown
    for name in re.findall(r"\(images/(\S+\.svg)\)", page):
        drawn = (tmp_path / name).read_text()
        assert drawn.count("<text") == (ROOT / "docs/tutorial/images" / name).read_text().count(
            "<text"
        )
