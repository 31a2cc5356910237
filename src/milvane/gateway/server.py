"""The gRPC server: hands each call to its rewriter, or passes its bytes on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import grpc
from typing_extensions import Self

from milvane.domain.errors import Conflict, Internal, ServiceError
from milvane.gateway.calls import Metadata
from milvane.gateway.dispatch import Dispatcher, short_name
from milvane.gateway.errors import TABLE, to_reply
from milvane.gateway.settings import Compat, GatewaySettings
from milvane.instances.upstream import UpstreamStatus
from milvane.messages import milvus_pb2

logger = logging.getLogger(__name__)

_STREAMING = frozenset(
    method.name
    for method in milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods
    if method.client_streaming or method.server_streaming
)
_OWN_HEADERS = frozenset({"user-agent", "te", "content-type"})
_OWN_PREFIXES = ("grpc-", ":")
"""With the headers above: metadata that belongs to one connection and is not passed on."""


class MilvusHandler(grpc.GenericRpcHandler):
    """Answers every RPC of whatever name."""

    def __init__(self, dispatcher: Dispatcher, *, compat: Compat = "2.6") -> None:
        self._dispatcher = dispatcher
        self._compat: Compat = compat

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Choose how a call is handled; no name is unknown, since the upstream may know it."""
        if short_name(details.method) in _STREAMING:
            return grpc.stream_stream_rpc_method_handler(self._stream(details.method))
        return grpc.unary_unary_rpc_method_handler(self._unary(details.method))

    def _unary(self, method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def behaviour(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return await self._dispatcher.answer(
                    method,
                    request,
                    metadata=passed_on(context.invocation_metadata()),
                    time_left_s=context.time_remaining,
                )
            except UpstreamStatus as error:
                await _end_as_upstream(context, error)
            except ServiceError as error:
                return await _refuse(context, method, error, self._compat)
            except Exception:  # the one catch-all of this front door: a defect ends one call only
                logger.exception("unexpected failure in %s", method)
                defect = Internal("internal error; see the log")
                return await _refuse(context, method, defect, self._compat)
            raise AssertionError("abort does not return")

        return behaviour

    def _stream(self, method: str) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        async def behaviour(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
        ) -> AsyncIterator[bytes]:
            try:
                async for reply in self._dispatcher.pass_stream(
                    method,
                    requests,
                    metadata=passed_on(context.invocation_metadata()),
                    time_left_s=context.time_remaining,
                ):
                    yield reply
            except UpstreamStatus as error:
                await _end_as_upstream(context, error)
            except ServiceError as error:
                await context.abort(_grpc_status(error), error.message)

        return behaviour


def passed_on(metadata: Any) -> Metadata:
    """Choose the metadata of a call that goes on to the upstream."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in _OWN_HEADERS and not key.startswith(_OWN_PREFIXES)
    )


def _grpc_status(error: ServiceError) -> grpc.StatusCode:
    return TABLE[error.kind].grpc_status or grpc.StatusCode.INTERNAL


async def _refuse(
    context: grpc.aio.ServicerContext, method: str, error: ServiceError, compat: Compat
) -> bytes:
    ends_call = TABLE[error.kind].grpc_status is not None
    reply = None if ends_call else to_reply(short_name(method), error, compat)
    if reply is None:
        await context.abort(_grpc_status(error), error.message)
    return reply  # type: ignore[return-value]  # abort raises


async def _end_as_upstream(context: grpc.aio.ServicerContext, error: UpstreamStatus) -> None:
    await context.abort(error.code, error.details, error.trailing_metadata)


class GatewayServer:
    """The listener; serves between entering and leaving its context."""

    def __init__(
        self,
        handler: MilvusHandler,
        settings: GatewaySettings,
        *,
        host: str = "",
        port: int = 0,
        path: Path | None = None,
    ) -> None:
        """
        Describe the listener.

        Args:
            handler: What answers the calls.

            settings: What a call may hold, and how the server ends.

            host: Address to listen on.

            port: 0 for a free one.

            path: A Unix socket to listen on, instead of host and port.
        """
        self._settings = settings
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if path is not None:
            self._address = f"unix:{path}"
        self._handler = handler
        self._server: grpc.aio.Server | None = None
        self.port = port
        """The port that is really bound, once started."""

    async def __aenter__(self) -> Self:
        """
        Bind and start to answer.

        Raises:
            Conflict: If the address is taken or is not this machine's.
        """
        limit = self._settings.max_message_bytes
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                # Two servers that share a port would each see half of the calls.
                ("grpc.so_reuseport", 0),
                # Milvus's Go server lets clients ping every 5 s, without a call too; the SDKs do.
                ("grpc.http2.min_ping_interval_without_data_ms", 5000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        self._server.add_generic_rpc_handlers((self._handler,))
        try:
            self.port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise Conflict(
                f"cannot listen on {self._address}. Is another server running? "
                "Choose another port with --grpc-port"
            ) from error
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take no new calls, let running ones finish within the drain time, and stop."""
        if self._server is not None:
            with anyio.CancelScope(shield=True):  # a server that falls apart still lets go in order
                await self._server.stop(self._settings.drain_timeout_s)
