"""
One image or video from an address: connections are checked, redirects too, bytes are counted.

Neither an address nor what a server said is ever part of an error or of the log, but for the name
of the host: addresses are signed, and answers from behind the firewall are nobody's to read.
"""

from __future__ import annotations

import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from types import TracebackType

import anyio
import httpcore2
from typing_extensions import Self

from milvane.domain.callers import ANYONE
from milvane.domain.errors import MediaRejected, Overloaded
from milvane.media.fetching.dialing import (
    CheckedBackend,
    Refused,
    Resolver,
    SystemResolver,
    is_public_peer,
)
from milvane.media.fetching.encodings import Expander
from milvane.media.policy import UNREACHABLE, FetchRules, Target
from milvane.media.reading_settings import MediaReaderSettings
from milvane.media.sources import too_large

LOG = logging.getLogger(__name__)

USER_AGENT = f"milvane/{version('milvane')}"
_IDLE_CONNECTIONS = 64
_IDLE_S = 15.0
_VALIDATOR_CHARACTERS = 256
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server calls the version of what it sent."""

    etag: str = ""
    last_modified: str = ""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What asks for another version only."""
        asked = ((b"If-None-Match", self.etag), (b"If-Modified-Since", self.last_modified))
        return [(name, value.encode("latin-1")) for name, value in asked if value]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a request."""

    is_unchanged: bool
    """The version that is known already; nothing was sent."""
    validators: Validators


class Fetcher:
    """Fetches from addresses; usable while entered."""

    def __init__(
        self,
        settings: MediaReaderSettings,
        *,
        rules: FetchRules | None = None,
        resolver: Resolver | None = None,
        connecting: httpcore2.AsyncNetworkBackend | None = None,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        """
        Describe how to fetch.

        Args:
            settings: Limits.

            rules: What may be fetched; as the settings say if none.

            resolver: Looks names up; the system if none.

            connecting: Connects to addresses; the system if none.

            certificates: Whom servers are trusted by; the usual authorities if none.
        """
        self._settings = settings
        self.rules = rules or rules_of(settings)
        self._own_resolver = SystemResolver() if resolver is None else None
        self._resolver = resolver or self._own_resolver or SystemResolver()
        self._connecting = connecting or httpcore2.AnyIOBackend()
        self._certificates = certificates
        self._pool: httpcore2.AsyncConnectionPool | None = None
        self._slots = anyio.CapacityLimiter(settings.max_concurrent)
        self._host_slots = _Slots(settings.max_concurrent_per_host)
        self._tenant_slots = _Slots(settings.max_concurrent_per_tenant)

    async def __aenter__(self) -> Self:
        """Make ready; certificates are read with the first request."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.aclose()
        if self._own_resolver is not None:
            self._own_resolver.close()

    def check(self, url: str) -> Target:
        """
        Read an address, and refuse it if what it says is enough to.

        Raises:
            MediaRejected: If it may not be fetched.
        """
        if not self._settings.fetches_addresses:
            raise MediaRejected("nothing is fetched from addresses here: send it as a data: URI")
        return self.rules.check_url(url)

    async def fetch(
        self,
        url: str,
        take: Callable[[bytes], Awaitable[None]],
        *,
        max_bytes: int,
        tenant: str = ANYONE.tenant,
        known: Validators | None = None,
    ) -> Fetched:
        """
        Fetch what an address holds.

        Args:
            url: As the caller wrote it.

            take: Is given the bytes as they come; what it raises ends the request.

            max_bytes: Held to while they come, and before they do where the server says so.

            tenant: For whom; no tenant takes all turns.

            known: The version that is here already.

        Raises:
            MediaRejected: If it may not or cannot be fetched.
            Overloaded: If it is not its turn in time.
        """
        target = self.check(url)
        async with self._turn(target.host, tenant):
            try:
                with anyio.fail_after(self._settings.timeout_s):
                    for _ in range(self._settings.max_redirects + 1):
                        answer = await self._ask(target, take, max_bytes, known)
                        if isinstance(answer, Fetched):
                            return answer
                        target = answer
            except (Refused, OSError, *_FAILURES) as error:  # a TimeoutError is an OSError
                LOG.info("media is not fetched from %s: %s", target.host, _reason(error))
                raise MediaRejected(UNREACHABLE) from error
        raise MediaRejected(f"it is redirected more than {self._settings.max_redirects} times")

    async def _ask(
        self,
        target: Target,
        take: Callable[[bytes], Awaitable[None]],
        max_bytes: int,
        known: Validators | None,
    ) -> Fetched | Target:
        """Send one request; gives where to ask next if the server says so."""
        async with self._connected().stream(
            "GET",
            httpcore2.URL(
                scheme=target.scheme.encode(),
                host=target.host.encode(),
                port=target.port,
                target=target.path.encode(),
            ),
            headers=_headers(target, known),
            extensions={"timeout": {"connect": None, "read": self._settings.timeout_s}},
        ) as response:
            head = _Head(response)
            if response.status in _REDIRECTS:
                return self.rules.check_redirect(target, head.one("location"))
            if response.status == HTTPStatus.NOT_MODIFIED and known is not None:
                return Fetched(is_unchanged=True, validators=known)
            if response.status != HTTPStatus.OK:
                raise self._refused(target, response)
            await _take_all(response, head, take, max_bytes)
        return Fetched(is_unchanged=False, validators=head.validators())

    def _refused(self, target: Target, response: httpcore2.Response) -> MediaRejected:
        LOG.info("media is not fetched from %s: status %s", target.host, response.status)
        if is_public_peer(response.extensions.get("network_stream")):
            return MediaRejected(
                f"it cannot be fetched: its server answers with status {response.status}"
            )
        return MediaRejected(UNREACHABLE)

    def _connected(self) -> httpcore2.AsyncConnectionPool:
        if self._pool is None:
            self._pool = httpcore2.AsyncConnectionPool(
                ssl_context=self._certificates or _usual_certificates(),
                max_connections=None,  # fetches are bounded before they come here
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
                network_backend=CheckedBackend(
                    self.rules,
                    self._resolver,
                    self._connecting,
                    timeout_s=self._settings.connect_timeout_s,
                ),
            )
        return self._pool

    @asynccontextmanager
    async def _turn(self, host: str, tenant: str) -> AsyncIterator[None]:
        """
        Wait for a turn of the host, of the tenant, then for one of all.

        In this order, whoever waits for a slow host holds nothing that others need.
        """
        async with AsyncExitStack() as stack:
            with anyio.move_on_after(self._settings.timeout_s) as waited:
                await stack.enter_async_context(self._host_slots.of(host))
                await stack.enter_async_context(self._tenant_slots.of(tenant))
                await stack.enter_async_context(self._slots)
            if waited.cancelled_caught:
                raise Overloaded(
                    "too many images and videos are fetched from its host, or in all; try again, "
                    "with fewer at once",
                    retry_after_s=1.0,
                )
            yield


class _Slots:
    """So many turns at once for each name; nothing is remembered of names that nobody uses."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._limiters: dict[str, anyio.CapacityLimiter] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn."""
        limiter = self._limiters.setdefault(name, anyio.CapacityLimiter(self._at_once))
        self._users[name] += 1
        try:
            async with limiter:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._limiters[name]


class _Head:
    """The headers of an answer."""

    def __init__(self, response: httpcore2.Response) -> None:
        self._values = [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in response.headers
        ]

    def one(self, name: str) -> str:
        """Give the last value of a header; empty if there is none."""
        return next((value for key, value in reversed(self._values) if key == name), "")

    def validators(self) -> Validators:
        """Read what the server calls this version; what is too long to be that is left out."""
        told = (self.one("etag"), self.one("last-modified"))
        return Validators(*(each if len(each) <= _VALIDATOR_CHARACTERS else "" for each in told))


async def _take_all(
    response: httpcore2.Response,
    head: _Head,
    take: Callable[[bytes], Awaitable[None]],
    max_bytes: int,
) -> None:
    announced = head.one("content-length")
    if announced.isascii() and announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise too_large(max_bytes)
    expander = Expander(head.one("content-encoding"))
    taken = 0
    async for received in response.aiter_stream():
        for piece in expander.expand(received):
            taken += len(piece)
            if taken > max_bytes:
                raise too_large(max_bytes)
            await take(piece)
    expander.finish()


def _headers(target: Target, known: Validators | None) -> list[tuple[bytes, bytes]]:
    asked = [
        (b"Host", target.authority.encode()),
        (b"User-Agent", USER_AGENT.encode()),
        (b"Accept", b"image/*, video/*, */*;q=0.5"),
        (b"Accept-Encoding", b"identity"),
    ]
    return asked if known is None else asked + known.headers


def rules_of(settings: MediaReaderSettings) -> FetchRules:
    """Take the rules from the operator's settings."""
    return FetchRules(
        allows_http=settings.allows_http,
        allowed_domains=tuple(map(_normal_domain, settings.allowed_domains)),
        denied_domains=tuple(map(_normal_domain, settings.denied_domains)),
        allowed_networks=settings.allowed_networks,
        denied_networks=settings.denied_networks,
        allowed_ports=settings.allowed_ports,
    )


def _normal_domain(name: str) -> str:
    return name.strip().lower().removesuffix(".")


@cache
def _usual_certificates() -> ssl.SSLContext:
    """Read the certificates that servers are checked against; takes tens of milliseconds."""
    import httpx2  # with its own client, which nothing here needs

    return httpx2.create_ssl_context()


def _reason(error: Exception) -> str:
    """Say what happened, for the operator."""
    words = f": {error}" if isinstance(error, Refused) else ""
    return f"{type(error).__name__}{words}"


_FAILURES = (
    httpcore2.NetworkError,
    httpcore2.TimeoutException,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
    httpcore2.ProxyError,
)
