"""Serve files and jobs in front of a hashing engine until killed: `job_server.py FOLDER PORT`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from milvane import logs
from milvane.apis.listener import HttpListener
from milvane.jobs.settings import JobsSettings
from offices import open_office


async def serve(folder: Path, port: int) -> None:
    """Serve for ever."""
    settings = JobsSettings(page_lines=16, lease_s=0.5, poll_interval_s=0.1)
    async with open_office(folder, jobs=settings) as office:
        listener = HttpListener(office.app, host="127.0.0.1", port=port, drain_timeout_s=1)
        async with listener, office.worker:
            print(f"http://127.0.0.1:{listener.port}", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    logs.configure()
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
