"""Servers that give back what they are sent, for ports that carry bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from typing_extensions import Self

METHOD = "/test.Service/Echo"
PATIENCE_S = 10


@dataclass
class RpcBackend(grpc.GenericRpcHandler):
    """A gRPC server on a Unix socket that gives back what it is sent, or holds on to it."""

    path: Path
    held: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 1),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Handle any method."""
        behaviour = self._hold if details.method.endswith("Hold") else self._echo
        return grpc.unary_unary_rpc_method_handler(behaviour)

    async def _echo(self, request: bytes, _: object) -> bytes:
        return request

    async def _hold(self, request: bytes, _: object) -> bytes:
        self.held.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request

    async def __aenter__(self) -> Self:
        self.server.add_generic_rpc_handlers((self,))
        self.server.add_insecure_port(f"unix:{self.path}")
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop(PATIENCE_S)


async def echo_app(scope: dict, receive: Callable, send: Callable) -> None:
    """Give back the body of any request."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def ended(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
    """Wait until the server ends a connection; return what it said."""
    reader, writer = connection
    said = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    return said
