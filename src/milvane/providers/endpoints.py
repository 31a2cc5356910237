"""
The servers that are called, each with its health and its share of requests.

One sick server holds nobody but its own callers: they wait in its own queue, and not for long once
its breaker is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from milvane.domain.breaking import Breaker, BreakerLimits, Outcome, admit, is_admitted, settle
from milvane.domain.errors import ProviderUnavailable


@dataclass(slots=True)
class Endpoint:
    """One server, by scheme, host and port."""

    slots: asyncio.Semaphore
    """Guards the number of requests that are under way to this server."""
    breaker: Breaker = field(default_factory=Breaker)
    users: int = 0
    """Calls that are waiting or under way."""
    last_failure: str = ""


class Endpoints:
    """Keeps the servers in use, and those that are not well."""

    def __init__(
        self, limits: BreakerLimits, *, max_concurrent: int, clock: Callable[[], float]
    ) -> None:
        self._limits = limits
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._known: dict[str, Endpoint] = {}

    @asynccontextmanager
    async def slot(self, origin: str, *, wait_s: float) -> AsyncIterator[Endpoint]:
        """
        Wait for a place among the requests of a server, and hold it.

        Whoever holds it settles how the request ended before letting go.

        Raises:
            ProviderUnavailable: If the server is left alone at the moment.
            TimeoutError: If there is no place in time.
        """
        endpoint = self._known.get(origin)
        if endpoint is None:
            endpoint = self._known[origin] = Endpoint(asyncio.Semaphore(self._max_concurrent))
        endpoint.users += 1
        try:
            self._check(origin, endpoint)
            with anyio.fail_after(wait_s):
                await endpoint.slots.acquire()
            try:
                self._check(origin, endpoint)
                endpoint.breaker = admit(endpoint.breaker, self._limits)
                yield endpoint
            finally:
                endpoint.slots.release()
        finally:
            endpoint.users -= 1
            if not endpoint.users and endpoint.breaker == Breaker():
                del self._known[origin]

    def settle(self, endpoint: Endpoint, outcome: Outcome, failure: str = "") -> None:
        """Note how a request ended."""
        endpoint.last_failure = failure or endpoint.last_failure
        endpoint.breaker = settle(endpoint.breaker, outcome, self._limits, now=self._clock())

    def _check(self, origin: str, endpoint: Endpoint) -> None:
        now = self._clock()
        if is_admitted(endpoint.breaker, self._limits, now=now):
            return
        wait_s = max(endpoint.breaker.retry_at - now, 0.0)
        raise ProviderUnavailable(
            f"call service failed, errs:[{origin} failed {endpoint.breaker.failures} times in a "
            f"row and is left alone for {wait_s:.1f} s, the last failure was: "
            f"{endpoint.last_failure}]"
        )
