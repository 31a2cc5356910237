"""The programs of the how-to page, each run as it stands; only addresses are other ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "how-to" / "point-an-sdk-here.md"
PROGRAMS = re.findall(r"^```(python|js) conformance\n(.*?)^```", PAGE.read_text(), re.M | re.S)


@pytest.mark.parametrize(
    ("language", "program"),
    PROGRAMS,
    ids=[re.findall(r"^(?:import|from) (.*)", program, re.M)[-1] for _, program in PROGRAMS],
)
def test_program_prints_what_it_says(
    language: str, program: str, grpc_uri: str, http_url: str
) -> None:
    """What stands behind each print, as a comment, is what it prints."""
    if language == "js" and not (
        shutil.which("node") and (HERE / "node" / "node_modules").is_dir()
    ):
        pytest.skip("Node and npm are not on this machine")
    commands = {"python": [sys.executable, "-"], "js": ["node", "--input-type=module", "-"]}
    said = re.findall(r"^(?:print|console\.log)\(.*\)(?:;| ) (?:#|//) (.*)$", program, re.M)
    program = program.replace("127.0.0.1:19530", grpc_uri.removeprefix("http://"))
    run = subprocess.run(
        commands[language],
        input=program.replace("http://127.0.0.1:8080", http_url),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=HERE / "node",
    )
    assert run.returncode == 0, run.stderr
    assert said
    assert run.stdout.splitlines() == said
