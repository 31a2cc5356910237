"""`milvane serve`: run the server, say when it is ready, stop it on a signal."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress

import typer

from milvane import logs
from milvane.bootstrap.starting import Running, running_server
from milvane.cli.default_weights import pull_default_weights
from milvane.settings import Settings

_INTERRUPTED = 130
_FILES = 65536
_M_ARENA_MAX = -8


def serve_until_stopped(settings: Settings) -> int:
    """
    Run the server until SIGTERM or SIGINT; a second signal ends it at once.

    Returns:
        The exit status.
    """
    logs.configure(settings.server.log_level)
    pull_default_weights(settings)
    _allow_files()
    _share_heaps()
    _compute_alone()
    asyncio.run(_serve(settings))
    return 0


def _allow_files() -> None:
    """Raise the number of open files as far as this user may: 1,024 are some 250 clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # a system with another limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _share_heaps() -> None:
    """Have threads share two heaps: one for each of them leaves 30 MB of holes that nobody uses."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # only the GNU library has it
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _compute_alone() -> None:
    """Keep NumPy from threads of its own, which spin for the cores that networks compute on."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when it is imported, which is later


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
