"""Serves the guarded engine on a Unix socket, from first readiness to the last flush."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio
import grpc
from milvus_lite.exceptions import DataDirLockedError

from milvane.domain.errors import Conflict
from milvane.instances.access import SERVICE, rpc_name
from milvane.instances.lite import checkpoint
from milvane.instances.lite.answerer import Answerer, CallEnded
from milvane.instances.lite.engine import Engine
from milvane.instances.lite.frames import MAX_MESSAGE_BYTES, Metadata, direct_path
from milvane.instances.lite.guard import CallContext, Guard
from milvane.instances.lite.rpcs import Rpc, unary_rpcs

if TYPE_CHECKING:
    from pathlib import Path

    from milvane.instances.settings import LiteSettings

_PARSED_ON_THE_LOOP_BYTES = 64 * 1024
_LOCK_PATIENCE_S = 5.0
_LOCK_RETRY_S = 0.1
_CLOSE_PATIENCE_S = 1.0
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The one client is the gateway: however often it pings, it is never sent away.
    ("grpc.http2.min_ping_interval_without_data_ms", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
)

_logger = logging.getLogger(__name__)


class Calls:
    """Answers calls, however they came; messages are bytes outside of here."""

    def __init__(self, guard: Guard, threads: ThreadPoolExecutor) -> None:
        self._guard = guard
        self._threads = threads
        self._rpcs = unary_rpcs()

    async def answer(self, path: str, request: bytes, metadata: Metadata) -> bytes:
        """
        Answer a call.

        Args:
            path: Of its method.

            request: The encoded message.

            metadata: The client's own.

        Returns:
            The encoded response.

        Raises:
            CallEnded: If Milvus Lite ends it with a gRPC status.
        """
        rpc = self._rpcs.get(rpc_name(path)) if path.startswith(f"/{SERVICE}/") else None
        if rpc is None:
            raise CallEnded(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        if not rpc.is_implemented:
            raise CallEnded(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{rpc.name} is not implemented by Milvus Lite, the embedded engine: "
                "a Milvus behind this server, named in [[instances]], can do it",
            )
        call = CallContext(metadata)
        response = await self._guard.serve(rpc, await self._parse(rpc, request), call)
        if call.code is not grpc.StatusCode.OK:
            raise CallEnded(call.code, call.details)
        encoded: bytes = response.SerializeToString()
        return encoded

    async def _parse(self, rpc: Rpc, request: bytes) -> Any:
        if len(request) <= _PARSED_ON_THE_LOOP_BYTES:
            return rpc.request_type.FromString(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, rpc.request_type.FromString, request)


class GrpcHandlers(grpc.GenericRpcHandler):
    """Lets Milvus's own clients on this machine call, beside the gateway."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def service(self, handler_call_details: Any) -> Any:
        """Return what handles a method."""
        path = handler_call_details.method

        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return await self._calls.answer(path, request, context.invocation_metadata() or ())
            except CallEnded as error:
                await context.abort(error.code, error.details)
            raise AssertionError("abort does not return")

        return grpc.unary_unary_rpc_method_handler(handle)


async def serve(data_dir: Path, socket: Path, settings: LiteSettings) -> None:
    """
    Serve a data directory until SIGTERM; then finish what runs, flush and return.

    Args:
        data_dir: Made if missing.

        socket: Where to listen for gRPC; its directory is private to this user. The gateway calls
            the socket beside it.

        settings: Limits and flush policy.

    Raises:
        Conflict: If another process has the directory and does not end soon.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the gateway hears it, and tells us
    started_s = time.monotonic()
    engine = await _open(data_dir, settings)
    with ThreadPoolExecutor(settings.worker_threads, thread_name_prefix="lite-call") as threads:
        guard = Guard(engine, settings, threads)
        calls = Calls(guard, threads)
        answerer = Answerer(calls.answer)
        await answerer.start(direct_path(socket))
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((GrpcHandlers(calls),))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guard.flusher.run)
            _report_ready(engine, time.monotonic() - started_s)
            await stop.wait()
            grace_s = settings.stop_timeout_s / 2
            await asyncio.gather(server.stop(grace=grace_s), answerer.stop(grace_s))
            tasks.cancel_scope.cancel()
    await asyncio.to_thread(engine.flush_all)
    await _close(engine)


async def _close(engine: Engine) -> None:
    # An index build may take longer than anybody waits. Every row is on disk by now, and an index
    # is built again at the next start.
    closing = threading.Thread(target=engine.close, name="close", daemon=True)
    closing.start()
    await asyncio.to_thread(closing.join, _CLOSE_PATIENCE_S)


async def _open(data_dir: Path, settings: LiteSettings) -> Engine:
    lite = version("milvus-lite")
    if lite not in checkpoint.PROVED_ON:
        _logger.warning(
            "milvus-lite %s was not tested with this program (only %s)",
            lite,
            ", ".join(checkpoint.PROVED_ON),
        )
    engine = await _take(data_dir, settings)
    engine.open_all()
    return engine


async def _take(data_dir: Path, settings: LiteSettings) -> Engine:
    with anyio.move_on_after(_LOCK_PATIENCE_S):
        while True:
            with suppress(DataDirLockedError):
                return Engine(
                    data_dir, fsync=settings.fsync, index_min_rows=settings.index_min_rows
                )
            await anyio.sleep(_LOCK_RETRY_S)
    raise Conflict(f"another process uses {data_dir}: stop it, or choose another directory")


def _report_ready(engine: Engine, opened_s: float) -> None:
    ready = {
        "state": "ready",
        "pid": os.getpid(),
        "collections": len(engine.open_keys()),
        "opened_s": round(opened_s, 3),
        "milvus_lite": version("milvus-lite"),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
