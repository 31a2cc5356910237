"""What a start brings in, and when."""

from __future__ import annotations

import subprocess
import sys

SEEN_LATER = {
    "alembic",
    "fastapi",
    "httpx2",
    "milvane_protocol",
    "numpy",
    "openvino",
    "rich",
    "sqlalchemy",
    "yaml",
}
"""What takes tens of milliseconds each, and runs beside Milvus Lite's start or not at all."""


def loaded_by(program: str) -> set[str]:
    """Run a program and say which modules it has loaded."""
    program += "\nimport sys; print('loaded', *sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100
    )
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("loaded ")]
    return set(line.split())


def test_beginning_of_the_start_loads_nothing_heavy() -> None:
    """Milvus Lite's process and the weights are on their way before anything else is imported."""
    assert not SEEN_LATER & loaded_by("import milvane.cli.main, milvane.cli.serving")
