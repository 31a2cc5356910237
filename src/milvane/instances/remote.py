"""A Milvus somewhere else: how it is reached, and which credentials it is shown."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from milvane.domain.errors import Conflict, UpstreamUnavailable
from milvane.instances.selection import InstanceSettings
from milvane.instances.upstream import GrpcConnection, Upstream

_DEFAULT_PORT = 19530

Metadata = Sequence[tuple[str, str | bytes]]


class RemoteEndpoint:
    """A fixed address; whether anybody answers there shows with each call."""

    when_absent = "does not answer"

    def __init__(self, settings: InstanceSettings) -> None:
        parts = urlsplit(settings.uri or "")
        self._target = f"{parts.hostname}:{parts.port or _DEFAULT_PORT}"
        self.name = f"the Milvus {settings.name!r} at {self._target}"
        """In words, for the caller who has to wait."""
        self._credentials = channel_credentials(settings) if parts.scheme == "https" else None
        self._options: tuple[tuple[str, str], ...] = ()
        if settings.server_name:
            self._options = (("grpc.ssl_target_name_override", settings.server_name),)

    async def wait_target(self, timeout_s: float, *, unlike: str | None = None) -> str:  # noqa: ARG002
        """
        Say the address.

        Raises:
            UpstreamUnavailable: If that address was just found dead: there is no other.
        """
        if unlike == self._target:
            raise UpstreamUnavailable(f"{self.name} {self.when_absent}; retry")
        return self._target

    def connect(self, target: str) -> GrpcConnection:
        """Describe a channel to it."""
        return GrpcConnection(target, credentials=self._credentials, options=self._options)


def channel_credentials(settings: InstanceSettings) -> grpc.ChannelCredentials:
    """
    Read the certificates of an encrypted channel.

    Raises:
        Conflict: If a file cannot be read.
    """
    return grpc.ssl_channel_credentials(
        root_certificates=settings.ca_certificate.encode()
        if settings.ca_certificate
        else _read(settings.ca_file),
        private_key=_read(settings.key_file),
        certificate_chain=_read(settings.cert_file),
    )


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise Conflict(f"the file {path} cannot be read: {error.strerror}") from error


class CredentialMapping:
    """An upstream that is shown our credentials in place of the client's."""

    def __init__(self, upstream: Upstream, token: str) -> None:
        self._upstream = upstream
        self._authorization = base64.b64encode(token.encode()).decode()

    async def call(
        self,
        method: str,
        request: bytes,
        *,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> bytes:
        """Make a unary call; see `Upstream.call`."""
        return await self._upstream.call(
            method, request, metadata=self._mapped(metadata), timeout_s=timeout_s
        )

    def open_stream(
        self,
        method: str,
        requests: AsyncIterator[bytes],
        *,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> AsyncIterator[bytes]:
        """Make a streaming call; see `Upstream.open_stream`."""
        return self._upstream.open_stream(
            method, requests, metadata=self._mapped(metadata), timeout_s=timeout_s
        )

    def _mapped(self, metadata: Metadata) -> Metadata:
        kept = [pair for pair in metadata if pair[0] != "authorization"]
        return (*kept, ("authorization", self._authorization))
