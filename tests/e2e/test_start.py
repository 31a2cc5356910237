"""What a start brings in, and when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


UNUSED = {
    "alembic",
    "apprise",
    "av",
    "cryptography",
    "milvane.apis.management.routes",
    "milvane.gateway.rest_v2.app",
    "milvane.inference.isolation",
    "milvane.inference.remote.runtime",
    "milvane.media.bucket_requests",
    "openvino.tools.ovc",
    "openvino_telemetry",
    "pandas",
    "PIL",
    "prometheus_client",
    "pymilvus",
    "rich",
    "sqlalchemy.dialects.postgresql",
    "torch",
    "yaml",
}
"""What a server that has just started has had no use for."""


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


def test_server_that_is_ready_has_loaded_what_it_uses(tmp_path: Path) -> None:
    """What few servers need is imported with its first use, and looks for garbage go on."""
    flags = {"server": {"data_dir": str(tmp_path / "data"), "grpc_port": 0, "http_port": 0}}
    loaded = loaded_by(
        "import asyncio, gc\n"
        "gc.disable()\n"
        "from milvane.bootstrap.starting import running_server\n"
        "from milvane.settings import load_settings\n"
        "async def start():\n"
        f"    async with running_server(load_settings({flags}).settings):\n"
        "        assert gc.isenabled()\n"
        "asyncio.run(start())"
    )
    assert {"fastapi", "openvino", "sqlalchemy"} <= loaded
    assert not UNUSED & loaded
