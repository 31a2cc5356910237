"""The port through which everybody calls a Milvus endpoint: bytes in, bytes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import grpc
import grpc.aio

from milvane.domain.errors import UpstreamUnavailable
from milvane.instances.access import is_repeatable, rpc_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence
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


class Endpoint(Protocol):
    """Where an endpoint is reached at the moment, if it is."""

    @property
    def name(self) -> str:
        """In words, for the caller who has to wait."""

    @property
    def when_absent(self) -> str:
        """What it does when it cannot be called, as in "is restarting"."""

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """How the channel is secured; none for plain text."""

    @property
    def options(self) -> Sequence[tuple[str, str]]:
        """What else the channel needs to know."""

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


class _Connection:
    """A channel to one target, and its methods."""

    def __init__(self, target: str, endpoint: Endpoint) -> None:
        self.target = target
        options = (*_OPTIONS, *endpoint.options)
        self.channel = (
            grpc.aio.insecure_channel(target, options=options)
            if endpoint.credentials is None
            else grpc.aio.secure_channel(target, endpoint.credentials, options=options)
        )
        self._methods: dict[str, Any] = {}

    def method(self, path: str) -> Any:
        """Return what calls a method with bytes."""
        if path not in self._methods:
            self._methods[path] = self.channel.unary_unary(path)
        return self._methods[path]


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
        self._connection: _Connection | None = None
        self._retired: _Connection | None = None

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
                await connection.channel.close(grace=None)
        self._retired = self._connection = None

    @property
    def unready_reason(self) -> str | None:
        """Say why a call would fail now, as far as the connection tells; none if it would not."""
        if self._connection is None:
            return None
        state = self._connection.channel.get_state(try_to_connect=True)
        if state in {grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN}:
            return f"{self._endpoint.name} {self._endpoint.when_absent}"
        return None

    async def call(
        self,
        method: str,
        request: bytes,
        *,
        metadata: Sequence[tuple[str, str | bytes]] = (),
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
                response: bytes = await connection.method(method)(
                    request, metadata=metadata, timeout=timeout_s
                )
            except grpc.aio.AioRpcError as error:
                failure = self._failure(error)
                if isinstance(failure, UpstreamStatus):
                    raise failure from error
                if dead is not None or not is_repeatable(rpc_name(method)):
                    raise failure from error
                dead = connection.target
            else:
                return response

    async def open_stream(
        self,
        method: str,
        requests: AsyncIterable[bytes],
        *,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        timeout_s: float | None = None,
    ) -> AsyncIterator[bytes]:
        """
        Make a streaming call of any kind, and yield the encoded responses as they come.

        Raises:
            UpstreamUnavailable: If the endpoint is not there, or went away.

            UpstreamStatus: If the endpoint ended the stream with another gRPC status than OK.
        """
        connection = await self._connect(None)
        stream = connection.channel.stream_stream(method)(
            requests, metadata=metadata, timeout=timeout_s
        )
        try:
            async for response in stream:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        finally:
            stream.cancel()

    async def _connect(self, dead: str | None) -> _Connection:
        target = await self._endpoint.wait_target(self._wait_for_restart_s, unlike=dead)
        if self._connection is not None and self._connection.target == target:
            return self._connection
        # Calls on the old connection are about to fail, and should fail as what they are: closing
        # it now would cancel them. It goes when its successor does.
        obsolete, self._retired = self._retired, self._connection
        connection = self._connection = _Connection(target, self._endpoint)
        if obsolete is not None:
            await obsolete.channel.close(grace=None)
        return connection

    def _failure(self, error: grpc.aio.AioRpcError) -> UpstreamUnavailable | UpstreamStatus:
        # Nobody on our side cancels through gRPC: a peer that is going down does.
        if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
            return UpstreamUnavailable(f"{self._endpoint.name} {self._endpoint.when_absent}; retry")
        trailing = tuple((key, value) for key, value in error.trailing_metadata() or ())
        return UpstreamStatus(error.code(), error.details() or "", trailing)
