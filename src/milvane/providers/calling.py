"""
One HTTP request with its retries: the shell around `retrying` and `breaking`.

Knows nothing of vectors. Being cancelled closes the connection of the request under way.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from http import HTTPStatus
from time import monotonic
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

import anyio
import httpx2
from typing_extensions import Self

from milvane.domain.breaking import BreakerLimits, Outcome
from milvane.domain.errors import ProviderRefused, ProviderUnavailable
from milvane.domain.retrying import (
    Failure,
    is_passing_status,
    parse_retry_after,
    plan_retry,
)
from milvane.providers.endpoints import Endpoint, Endpoints
from milvane.providers.parameters import origin_of
from milvane.providers.settings import ProvidersSettings

_MAX_SHOWN_CHARACTERS = 2000
_IDLE_CONNECTIONS = 32
_HIDDEN = "***"


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, as a caller sees them."""

    monotonic: Callable[[], float] = monotonic
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    content: bytes
    headers: Mapping[str, str]
    """Found whatever the case of their names."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to be sent, as often as it takes."""

    url: str
    headers: Mapping[str, str]
    content: bytes
    hidden: Sequence[str] = ()
    """Secrets: what a server repeats of them is not shown to the caller."""


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@cache
def _certificates() -> ssl.SSLContext:
    """Read the certificates that servers are checked against; takes tens of milliseconds."""
    return httpx2.create_ssl_context()


class HttpCaller:
    """Sends requests; owns the connections between entering and leaving its context."""

    def __init__(self, settings: ProvidersSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._client: httpx2.AsyncClient | None = None
        self._endpoints = Endpoints(
            BreakerLimits(settings.breaker_failures, settings.breaker_open_s),
            max_concurrent=settings.max_concurrent_per_endpoint,
            clock=clock.monotonic,
        )

    async def __aenter__(self) -> Self:
        """Make ready to connect; the certificates are read with the first call."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    def _connected(self) -> httpx2.AsyncClient:
        if self._client is None:
            proxy_url = self._settings.proxy_url
            # Endpoints bound their own requests: a shared bound would let one starve the others.
            self._client = httpx2.AsyncClient(
                verify=_certificates(),
                proxy=proxy_url.get_secret_value() if proxy_url else None,
                trust_env=False,
                timeout=None,  # each request is under a deadline of its own
                limits=httpx2.Limits(
                    max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS
                ),
            )
        return self._client

    async def post(self, outgoing: Outgoing, *, timeout_s: float) -> Answer:
        """
        Send a request until it is answered.

        Args:
            outgoing: What to send.

            timeout_s: Time for all attempts and the pauses between them.

        Returns:
            The reply with status 200.

        Raises:
            ProviderUnavailable: If the server did not answer, and another time it may.
            ProviderRefused: If it refused.
        """
        deadline = self._clock.monotonic() + timeout_s
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._attempt(outgoing, deadline)
            except _Failed as failed:
                pause_s = plan_retry(
                    failed.failure,
                    attempts=attempts,
                    max_attempts=self._settings.max_attempts,
                    time_left_s=deadline - self._clock.monotonic(),
                    jitter=self._clock.jitter(),
                )
                if pause_s is None:
                    raise _to_error(failed.failure, outgoing.hidden) from None
            await self._clock.sleep(pause_s)

    async def _attempt(self, outgoing: Outgoing, deadline: float) -> Answer:
        origin = origin_of(outgoing.url)
        try:
            async with self._endpoints.slot(origin, wait_s=self._left(deadline)) as endpoint:
                return await self._send(outgoing, endpoint, timeout_s=self._left(deadline))
        except TimeoutError:
            reason = "context deadline exceeded, waiting for other calls to the same server"
            raise _Failed(_transport_failure(outgoing.url, reason)) from None

    def _left(self, deadline: float) -> float:
        return max(deadline - self._clock.monotonic(), 0.0)

    async def _send(self, outgoing: Outgoing, endpoint: Endpoint, *, timeout_s: float) -> Answer:
        outcome, failure, answer = Outcome.UNKNOWN, None, Answer(b"", {})
        try:
            with anyio.fail_after(timeout_s):
                status, headers, content = await self._exchange(outgoing)
            failure, answer = self._judge(status, headers, content), Answer(content, headers)
        except TimeoutError:
            failure = _transport_failure(outgoing.url, "context deadline exceeded")
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            failure = _transport_failure(outgoing.url, str(error) or type(error).__name__)
        else:
            outcome = Outcome.HEALTHY
        finally:
            # Whoever was cancelled learned nothing of the server's health.
            if failure is not None:
                outcome = Outcome.SICK if failure.is_sick else Outcome.HEALTHY
            said = _hide(failure.message, outgoing.hidden) if failure else ""
            self._endpoints.settle(endpoint, outcome, said)
        if failure is not None:
            raise _Failed(failure)
        return answer

    async def _exchange(self, outgoing: Outgoing) -> tuple[int, httpx2.Headers, bytes]:
        """Send once, and read the reply up to the limit."""
        content = bytearray()
        async with self._connected().stream(
            "POST", outgoing.url, headers=dict(outgoing.headers), content=outgoing.content
        ) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > self._settings.max_reply_bytes:
                    raise httpx2.RemoteProtocolError(
                        f"the reply has more than {self._settings.max_reply_bytes} bytes"
                    )
            return response.status_code, response.headers, bytes(content)

    def _judge(self, status: int, headers: httpx2.Headers, content: bytes) -> Failure | None:
        if status == HTTPStatus.OK:
            return None
        said = content[:_MAX_SHOWN_CHARACTERS].decode(errors="replace")
        return Failure(
            f"call service failed, errs:[{status} {_phrase(status)}, {said}]",
            is_passing=is_passing_status(status),
            is_sick=status >= HTTPStatus.INTERNAL_SERVER_ERROR and is_passing_status(status),
            retry_after_s=parse_retry_after(headers.get("retry-after"), now=self._clock.now()),
        )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown"


def _transport_failure(url: str, reason: str) -> Failure:
    return Failure(
        f'call service failed, errs:[Post "{shown(url)}": {reason}]', is_passing=True, is_sick=True
    )


def shown(url: str) -> str:
    """Write a URL for people: without what may be secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _hide(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, _HIDDEN)
    return text


def _to_error(failure: Failure, secrets: Sequence[str]) -> ProviderRefused:
    kind = ProviderUnavailable if failure.is_passing else ProviderRefused
    return kind(_hide(failure.message, secrets))
