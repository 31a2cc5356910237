"""The command that the documents name for benchmarks says what it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command; nothing that is asked here measures anything."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_tells_what_each_benchmark_measures() -> None:
    """Help names every module that measures, with a sentence, and measures nothing."""
    told = ask("--help")
    assert told.returncode == 0
    lines = told.stdout.partition("what they measure:\n")[2].splitlines()
    described = {name: said for name, _, said in (line.strip().partition(" ") for line in lines)}
    sources = (ROOT / "benchmarks").glob("*.py")
    assert set(described) == {each.stem for each in sources if "\ndef measure(" in each.read_text()}
    assert all(said.strip() for said in described.values())
    assert "--quick" in told.stdout
    assert "measuring" not in told.stdout


def test_unknown_benchmark_is_refused_with_those_there_are() -> None:
    """A name that is none ends the command before anything is measured, and names what there is."""
    told = ask("soaking")
    assert told.returncode == 2
    assert not told.stdout
    assert "invalid choice: 'soaking'" in told.stderr
    assert "soak" in told.stderr.partition("choose from")[2]
