"""
Connections that go where the rules allow: a name is looked up once, every address it has is
checked, and one of those is connected to, so that nothing can change in between.

The name stays what it was for TLS and for the server: its certificate is verified against it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, Protocol

import httpcore2
from anyio import move_on_after
from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream

from milvane.media.policy import Address, FetchRules, is_public

CHECKED_ADDRESS = "milvane.checked_address"
"""What a connection is asked to learn which address it goes to."""

_LOOKUPS_AT_ONCE = 32
_TRIES = 3
"""Addresses of one name that are tried, one after the other."""


_FAILURES = (httpcore2.ConnectError, httpcore2.ConnectTimeout)


class Refused(Exception):
    """The rules do not let us connect; or there is nothing to connect to."""


class Resolver(Protocol):
    """Looks names up."""

    async def resolve(self, host: str) -> Sequence[Address]:
        """
        Say which addresses a name has now.

        Raises:
            OSError: If it has none.
        """


class SystemResolver:
    """As the system does it, in threads of its own: a slow name server delays nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, "milvane-media-names")

    async def resolve(self, host: str) -> Sequence[Address]:
        """Look a name up; see the port."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host)
        return list(dict.fromkeys(ip_address(each) for each in found))

    def close(self) -> None:
        """Begin no more lookups."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class CheckedBackend(AsyncNetworkBackend):
    """Makes the connections of an HTTP client."""

    def __init__(
        self,
        rules: FetchRules,
        resolver: Resolver,
        connecting: AsyncNetworkBackend,
        *,
        timeout_s: float,
    ) -> None:
        """
        Stand between a client and what makes connections.

        Args:
            rules: What may be connected to.

            resolver: Looks names up.

            connecting: Is given addresses that were checked, never names.

            timeout_s: For each address that is tried.
        """
        self._rules = rules
        self._resolver = resolver
        self._connecting = connecting
        self._timeout_s = timeout_s

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - named by the library
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """
        Connect to a name.

        Raises:
            Refused: If one of its addresses may not be connected to.
            httpcore2.ConnectError: If none of them answers.
        """
        failure: Exception | None = None
        for address in (await self._checked(host))[:_TRIES]:
            try:
                stream = await self._connecting.connect_tcp(
                    str(address),
                    port,
                    timeout=self._timeout_s,
                    local_address=local_address,
                    socket_options=socket_options,
                )
                return _CheckedStream(stream, address)
            except _FAILURES as error:  # noqa: PERF203 - hardly ever more than one address
                failure = error
        raise failure or httpcore2.ConnectError()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._connecting.sleep(seconds)

    async def _checked(self, host: str) -> Sequence[Address]:
        addresses: Sequence[Address] | None = None
        try:
            with move_on_after(2 * self._timeout_s):
                addresses = await self._resolver.resolve(host)
        except (OSError, UnicodeError, ValueError) as error:
            raise Refused("the name has no address") from error
        if not addresses:
            raise Refused("the name has no address, or none in time")
        closed = [each for each in addresses if not self._rules.may_connect(each)]
        if closed:
            raise Refused(f"it would be fetched from {closed[0]}")
        return addresses


class _CheckedStream(AsyncNetworkStream):
    """A connection that remembers which address was checked for it."""

    def __init__(self, stream: AsyncNetworkStream, address: Address) -> None:
        self._stream = stream
        self._address = address

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _CheckedStream(stream, self._address)

    def get_extra_info(self, info: str) -> Any:
        return self._address if info == CHECKED_ADDRESS else self._stream.get_extra_info(info)


def is_public_peer(stream: AsyncNetworkStream | None) -> bool:
    """Say whether a connection goes to the Internet, so that what it answers may be told."""
    address = None if stream is None else stream.get_extra_info(CHECKED_ADDRESS)
    return address is not None and is_public(address)
