"""Environments for what is measured beside us, each with its own packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(name: str, packages: list[str]) -> Path:
    """
    Make a virtual environment with some packages, once.

    Returns:
        Its Python.

    Raises:
        RuntimeError: If it cannot be made; the message says why.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "milvane-benchmarks" / name
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise RuntimeError(f"{packages[0]} cannot be installed: {reason}")
    (folder / "complete").touch()
    return python
