"""The port through which everybody calls a Milvus endpoint: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import grpc.aio

from milvane.domain.errors import UpstreamUnavailable
from milvane.instances.access import is_repeatable, rpc_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from types import TracebackType

    from typing_extensions import Self

_MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # Failures of an earlier connection to the same place say nothing about this one.
    ("grpc.use_local_subchannel_pool", 1),
    # No keepalive: Milvus Lite answers frequent pings by closing the connection, and a peer on
    # this machine is watched by its supervisor.
)

Metadata = Sequence[tuple[str, str | bytes]]


class ConnectionLost(Exception):
    """A connection ended, or could not be made, before a call was answered."""

    def __init__(self, *, was_sent: bool) -> None:
        super().__init__("connection lost")
        self.was_sent = was_sent
        """Whether the call may have been carried out."""


class UpstreamStatus(Exception):
    """What the upstream answered instead of a response, to be passed on as it is."""

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing_metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details
        self.trailing_metadata = tuple(trailing_metadata)


class Connection(Protocol):
    """A way to one target, of whatever kind."""

    @property
    def target(self) -> str:
        """Where it leads."""

    @property
    def is_failing(self) -> bool:
        """Whether the connection itself knows that a call would fail now."""

    async def call(
        self, method: str, request: bytes, *, metadata: Metadata, timeout_s: float | None
    ) -> bytes:
        """
        Make a unary call; the arguments are those of `Upstream.call`.

        Raises:
            ConnectionLost: If the peer is not there, or went away.

            UpstreamStatus: If it answered with another gRPC status than OK.
        """

    def stream(
        self,
        method: str,
        requests: AsyncIterable[bytes],
        *,
        metadata: Metadata,
        timeout_s: float | None,
    ) -> AsyncIterator[bytes]:
        """Make a streaming call; raises as `call` does."""

    async def close(self) -> None:
        """Close it; calls that wait fail."""


class Endpoint(Protocol):
    """Where an endpoint is reached at the moment, if it is."""

    @property
    def name(self) -> str:
        """In words, for the caller who has to wait."""

    @property
    def when_absent(self) -> str:
        """What it does when it cannot be called, as in "is restarting"."""

    async def wait_target(self, timeout_s: float, *, unlike: str | None = None) -> str:
        """
        Wait until the endpoint can be called.

        Args:
            timeout_s: How long to wait.

            unlike: A target that was found dead, and will not do.

        Returns:
            A gRPC target.

        Raises:
            UpstreamUnavailable: If it cannot be called in time.
        """

    def connect(self, target: str) -> Connection:
        """Describe a connection to a target; it is made with the first call."""


class GrpcConnection:
    """A gRPC channel."""

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, str]] = (),
    ) -> None:
        """
        Describe the channel.

        Args:
            target: Where it leads.

            credentials: How it is secured; none for plain text.

            options: What else gRPC needs to know.
        """
        self.target = target
        self._channel = (
            grpc.aio.insecure_channel(target, options=(*_OPTIONS, *options))
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=(*_OPTIONS, *options))
        )
        self._methods: dict[str, Any] = {}

    @property
    def is_failing(self) -> bool:
        """Whether the channel has given up for now."""
        state = self._channel.get_state(try_to_connect=True)
        return state in {
            grpc.ChannelConnectivity.TRANSIENT_FAILURE,
            grpc.ChannelConnectivity.SHUTDOWN,
        }

    async def call(
        self, method: str, request: bytes, *, metadata: Metadata, timeout_s: float | None
    ) -> bytes:
        """Make a unary call; see `Connection.call`."""
        if method not in self._methods:
            self._methods[method] = self._channel.unary_unary(method)
        try:
            response: bytes = await self._methods[method](
                request, metadata=metadata, timeout=timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        return response

    async def stream(
        self,
        method: str,
        requests: AsyncIterable[bytes],
        *,
        metadata: Metadata,
        timeout_s: float | None,
    ) -> AsyncIterator[bytes]:
        """Make a streaming call; see `Connection.stream`."""
        stream = self._channel.stream_stream(method)(requests, metadata=metadata, timeout=timeout_s)
        try:
            async for response in stream:
                yield response
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        finally:
            stream.cancel()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(grace=None)


class Upstream:
    """One connection to an endpoint, made anew when the endpoint comes back elsewhere."""

    def __init__(self, endpoint: Endpoint, *, wait_for_restart_s: float) -> None:
        """
        Describe the connection; it is made with the first call.

        Args:
            endpoint: Whom to call.

            wait_for_restart_s: How long a call waits for an endpoint that is not ready.
        """
        self._endpoint = endpoint
        self._wait_for_restart_s = wait_for_restart_s
        self._connection: Connection | None = None
        self._retired: Connection | None = None

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        for connection in (self._retired, self._connection):
            if connection is not None:
                await connection.close()
        self._retired = self._connection = None

    @property
    def unready_reason(self) -> str | None:
        """Say why a call would fail now, as far as the connection tells; none if it would not."""
        if self._connection is not None and self._connection.is_failing:
            return f"{self._endpoint.name} {self._endpoint.when_absent}"
        return None

    async def call(
        self,
        method: str,
        request: bytes,
        *,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> bytes:
        """
        Make a unary call.

        Args:
            method: Its full path, ``/package.Service/Method``.

            request: The encoded message.

            metadata: Sent as it is.

            timeout_s: What is left of the caller's deadline.

        Returns:
            The encoded response, whatever status Milvus put into it.

        Raises:
            UpstreamUnavailable: If the endpoint is not there, or went away during the call. In the
                latter case a write may have been done; reads were tried again already.

            UpstreamStatus: If the endpoint answered with another gRPC status than OK.
        """
        dead: str | None = None
        while True:
            connection = await self._connect(dead)
            try:
                return await connection.call(
                    method, request, metadata=metadata, timeout_s=timeout_s
                )
            except ConnectionLost as lost:
                may_repeat = not lost.was_sent or is_repeatable(rpc_name(method))
                if dead is not None or not may_repeat:
                    raise self._unavailable() from lost
                dead = connection.target

    async def open_stream(
        self,
        method: str,
        requests: AsyncIterable[bytes],
        *,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> AsyncIterator[bytes]:
        """
        Make a streaming call of any kind, and yield the encoded responses as they come.

        Raises:
            UpstreamUnavailable: If the endpoint is not there, or went away.

            UpstreamStatus: If the endpoint ended the stream with another gRPC status than OK.
        """
        connection = await self._connect(None)
        replies = connection.stream(method, requests, metadata=metadata, timeout_s=timeout_s)
        try:
            async for response in replies:
                yield response
        except ConnectionLost as lost:
            raise self._unavailable() from lost

    async def _connect(self, dead: str | None) -> Connection:
        target = await self._endpoint.wait_target(self._wait_for_restart_s, unlike=dead)
        if self._connection is not None and self._connection.target == target:
            return self._connection
        # Calls on the old connection are about to fail, and should fail as what they are: closing
        # it now would cancel them. It goes when its successor does.
        obsolete, self._retired = self._retired, self._connection
        connection = self._connection = self._endpoint.connect(target)
        if obsolete is not None:
            await obsolete.close()
        return connection

    def _unavailable(self) -> UpstreamUnavailable:
        return UpstreamUnavailable(f"{self._endpoint.name} {self._endpoint.when_absent}; retry")


def _failure(error: grpc.aio.AioRpcError) -> ConnectionLost | UpstreamStatus:
    # Nobody on our side cancels through gRPC: a peer that is going down does.
    if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
        return ConnectionLost(was_sent=True)
    trailing = tuple((key, value) for key, value in error.trailing_metadata() or ())
    return UpstreamStatus(error.code(), error.details() or "", trailing)
