"""`milvane serve`: run the server, say when it is ready, stop it on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import typer

from milvane import logs
from milvane.bootstrap import Running, running_server
from milvane.cli.models import pull_default_weights
from milvane.settings import Settings

_INTERRUPTED = 130


def serve_until_stopped(settings: Settings) -> int:
    """
    Run the server until SIGTERM or SIGINT; a second signal ends it at once.

    Returns:
        The exit status.
    """
    logs.configure(settings.server.log_level)
    pull_default_weights(settings)
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    ready = asyncio.Event()
    server = asyncio.create_task(_run(settings, ready, stop), name="server")

    def on_signal() -> None:
        if stop.is_set():
            os._exit(_INTERRUPTED)  # asked twice: what is acknowledged is on disk already
        stop.set()
        if not ready.is_set():
            server.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    with suppress(asyncio.CancelledError):
        await server


async def _run(settings: Settings, ready: asyncio.Event, stop: asyncio.Event) -> None:
    async with running_server(settings) as running:
        ready.set()
        typer.echo(ready_line(running, settings))
        await stop.wait()


def ready_line(running: Running, settings: Settings) -> str:
    """Write the line that says where the server listens."""
    host = settings.server.host
    shown = f"[{host}]" if ":" in host else host
    root = f"{'https' if settings.tls.is_on else 'http'}://{shown}"
    first, *others = running.grpc_ports.items()
    more = "".join(f", {name} on {root}:{port}" for name, port in others)
    return (
        f"Milvane is ready: Milvus protocol on {root}:{first[1]}{more}, "
        f"HTTP APIs on {root}:{running.http_port}, "
        f"data in {settings.server.data_dir.resolve()}"
    )
