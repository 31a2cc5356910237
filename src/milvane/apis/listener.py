"""The HTTP listener: uvicorn as a component of a larger server, without its signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import uvicorn
from typing_extensions import Self

from milvane.domain.errors import Conflict


class _Embedded(uvicorn.Server):
    """A uvicorn server that leaves signals to the process that it is part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


class HttpListener:
    """Serves an ASGI application between entering and leaving its context."""

    def __init__(
        self,
        app: Any,
        *,
        host: str = "",
        port: int = 0,
        path: Path | None = None,
        drain_timeout_s: float,
    ) -> None:
        """
        Describe the listener.

        Args:
            app: The ASGI application.

            host: Address to listen on.

            port: 0 for a free one.

            path: A Unix socket to listen on, instead of host and port.

            drain_timeout_s: How long running requests may finish at the end.
        """
        self._host = host
        self._path = path
        self.port = port
        """The port that is really bound, once started."""
        self._server = _Embedded(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(drain_timeout_s)),
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """
        Bind and start to answer.

        Raises:
            Conflict: If the address is taken or is not this machine's.
        """
        if self._path is None:
            listening = _bind(self._host, self.port)
            self.port = listening.getsockname()[1]
        else:
            listening = _bind_path(self._path)
        self._serving = asyncio.create_task(
            self._server.serve(sockets=[listening]), name="http-listener"
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take no new requests, let running ones finish within the drain time, and stop."""
        self._server.should_exit = True
        if self._serving is not None:
            with anyio.CancelScope(shield=True):  # a server that falls apart still lets go in order
                await self._serving


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise Conflict(
            f"cannot listen on {host} port {port}: {error.strerror}. "
            "Is another server running? Choose another with --http-port"
        ) from error
    listening.setblocking(False)  # noqa: FBT003 - the library's signature
    return listening


def _bind_path(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen(2048)
    listening.setblocking(False)  # noqa: FBT003 - the library's signature
    return listening
