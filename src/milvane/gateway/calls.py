"""One call of a client, and the way on to the upstream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from milvane.domain.errors import InvalidInput

SERVICE = "/milvus.proto.milvus.MilvusService/"
DEFAULT_DATABASE = "default"

Metadata = Sequence[tuple[str, str | bytes]]
MessageType = TypeVar("MessageType", bound=Message)


class Upstream(Protocol):
    """A Milvus endpoint that takes serialized requests."""

    async def call(
        self, method: str, request: bytes, *, metadata: Metadata, timeout_s: float | None
    ) -> bytes:
        """
        Call a unary RPC.

        Args:
            method: The RPC's full name, with slashes.

            request: The serialized request.

            metadata: The client's own, to be passed on.

            timeout_s: Time left until the client's deadline; none for no deadline.

        Returns:
            The serialized reply.
        """


@dataclass(frozen=True, slots=True)
class Call:
    """What a client asked for."""

    method: str
    """The RPC's full name, with slashes."""
    request: bytes
    metadata: Metadata
    upstream: Upstream
    time_left_s: Callable[[], float | None]

    async def forward(self, request: bytes | None = None, *, method: str | None = None) -> bytes:
        """
        Send the call, or another one in the client's name, to the upstream.

        Args:
            request: What to send; the client's own bytes if none.

            method: Short name of the RPC; the client's own if none.
        """
        return await self.upstream.call(
            SERVICE + method if method else self.method,
            self.request if request is None else request,
            metadata=self.metadata,
            timeout_s=self.time_left_s(),
        )

    def parse(self, message_type: type[MessageType]) -> MessageType:
        """
        Decode the request.

        Raises:
            InvalidInput: If the bytes are not such a message.
        """
        message = message_type()
        try:
            message.ParseFromString(self.request)
        except DecodeError as error:
            raise InvalidInput(
                f"the request cannot be decoded as {message_type.DESCRIPTOR.name}"
            ) from error
        return message

    def database(self, named: str) -> str:
        """
        Say which database the call is about.

        Args:
            named: The database that the request itself names; may be empty.
        """
        if named:
            return named
        for key, value in self.metadata:
            if key == "dbname" and value:
                return value if isinstance(value, str) else value.decode()
        return DEFAULT_DATABASE
