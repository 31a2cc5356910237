"""Takes a call from whichever listener: checks who asks, rewrites it or passes it on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from milvane.domain.callers import Caller, Origin
from milvane.domain.control import Scope
from milvane.domain.usage import Operation
from milvane.gateway.authentication import read_token
from milvane.gateway.bindings import Description
from milvane.gateway.calls import SERVICE, Call, Metadata, Upstream
from milvane.gateway.interception import REWRITTEN, SCHEMA_CHANGING
from milvane.gateway.measuring import measuring
from milvane.gateway.rpcs.services import Services
from milvane.measures import Operations
from milvane.serving.access import Authenticator
from milvane.serving.callers import calling


class StreamingUpstream(Upstream, Protocol):
    """An upstream that also passes streams."""

    def open_stream(
        self,
        method: str,
        requests: AsyncIterator[bytes],
        *,
        metadata: Metadata,
        timeout_s: float | None,
    ) -> AsyncIterator[bytes]:
        """Pass a streaming RPC on, in both directions."""


class Dispatcher:
    """What every listener of the Milvus port hands its calls to."""

    def __init__(
        self,
        upstream: StreamingUpstream,
        services: Services,
        authenticator: Authenticator,
        operations: Operations | None = None,
        *,
        instance: str = "",
    ) -> None:
        """
        Prepare to dispatch.

        Args:
            upstream: Where calls go.

            services: What the rewritten ones work with.

            authenticator: Says who may call.

            operations: Counts calls; none to count them for nobody.

            instance: What the upstream is called.
        """
        self._origins = {
            operation: Origin(operation, instance)
            for operation in (Operation.INSERT, Operation.SEARCH)
        }
        self._operations = operations or Operations()
        self._upstream = upstream
        self._services = services
        self._authenticator = authenticator

    def admit(self, metadata: Metadata) -> Caller:
        """
        Check who asks; `answer` does it as well.

        Raises:
            Unauthenticated: If they may not use the server.
        """
        return self._authenticator.check_token(read_token(metadata), Scope.MILVUS)

    async def describe(
        self,
        database: str,
        collection: str,
        *,
        metadata: Metadata,
        time_left_s: Callable[[], float | None],
        anew: bool = False,
    ) -> Description:
        """
        Say what the upstream says of a collection, from memory if it is known; `anew` asks again.

        Raises as `answer` does.
        """
        self.admit(metadata)
        call = Call(f"{SERVICE}DescribeCollection", b"", metadata, self._upstream, time_left_s)
        return await self._services.bindings.describe(
            call, database=database, collection=collection, anew=anew
        )

    async def answer(
        self,
        method: str,
        request: bytes,
        *,
        metadata: Metadata,
        time_left_s: Callable[[], float | None],
    ) -> bytes:
        """
        Answer a unary RPC.

        Args:
            method: The RPC's full name, with slashes.

            request: The serialized request.

            metadata: The client's own; what belongs to its connection is left out already.

            time_left_s: Says how long the client still waits; none for no deadline.

        Returns:
            The serialized reply.

        Raises:
            ServiceError: If the gateway refuses the call.
            UpstreamStatus: If the upstream ended it with a gRPC status.
        """
        with measuring(self._operations, short_name(method)):
            return await self._answer(method, request, metadata, time_left_s)

    async def _answer(
        self,
        method: str,
        request: bytes,
        metadata: Metadata,
        time_left_s: Callable[[], float | None],
    ) -> bytes:
        # Before anything is decoded, looked up or embedded: who is not known costs nothing.
        caller = self.admit(metadata)
        call = Call(method, request, metadata, self._upstream, time_left_s)
        name = short_name(method)
        rewrite = REWRITTEN.get(name)
        try:
            if rewrite is None:
                return await call.forward()
            with calling(caller, self._origins[operation_of(name)]):
                return await rewrite(call, self._services)
        finally:
            if name in SCHEMA_CHANGING:
                self._services.bindings.forget()

    async def pass_stream(
        self,
        method: str,
        requests: AsyncIterator[bytes],
        *,
        metadata: Metadata,
        time_left_s: Callable[[], float | None],
    ) -> AsyncIterator[bytes]:
        """Pass a streaming RPC on; raises as `answer` does."""
        self.admit(metadata)
        replies = self._upstream.open_stream(
            method, requests, metadata=metadata, timeout_s=time_left_s()
        )
        async for reply in replies:
            yield reply


def short_name(method: str) -> str:
    """Cut an RPC's full name down to the part after the service."""
    return method.rpartition("/")[2]


def operation_of(name: str) -> Operation:
    """Say what embedding for an RPC, given by its short name, is counted as."""
    return Operation.SEARCH if name.endswith("Search") else Operation.INSERT
