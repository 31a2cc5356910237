"""Slows down those who guess passwords."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from milvane.domain.errors import QuotaExceeded, Unauthenticated

FREE_FAILURES = 3
"""Wrong passwords for a name that cost no waiting."""
MAX_WAIT_S = 60.0
MAX_WAITING = 8
"""Tries that may wait for the one that is being looked at."""
_MAX_NAMES = 10_000


class SignInThrottle:
    """
    One try at a time, and after a few failures each further one doubles the wait for that name.

    To look at a password takes a quarter of a second of the processor, whoever asks: without a
    bound on tries at once, a stranger could keep every core at it.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, datetime]] = OrderedDict()
        self._looking = asyncio.Lock()  # guards the order: a failure counts before the next try
        self._waiting = 0

    @asynccontextmanager
    async def one_try(self, name: str) -> AsyncIterator[None]:
        """
        Let a try be made in the context, and count how it ends.

        Raises:
            QuotaExceeded: If it comes too soon after a failure, or too many others wait.
        """
        if self._waiting > MAX_WAITING:
            raise QuotaExceeded("too many people sign in at once: try again", retry_after_s=1)
        self._waiting += 1
        try:
            async with self._looking:
                self._check(name)
                try:
                    yield
                except Unauthenticated:
                    self._note_failure(name)
                    raise
                self._failures.pop(name, None)
        finally:
            self._waiting -= 1

    def _check(self, name: str) -> None:
        failures, last_at = self._failures.get(name, (0, self._clock()))
        if failures < FREE_FAILURES:
            return
        wait_s = min(MAX_WAIT_S, 2.0 ** (failures - FREE_FAILURES))
        left_s = (last_at + timedelta(seconds=wait_s) - self._clock()).total_seconds()
        if left_s > 0:
            raise QuotaExceeded(
                f"too many wrong passwords: try again in {left_s:.0f} s", retry_after_s=left_s
            )

    def _note_failure(self, name: str) -> None:
        """Count a wrong password."""
        failures, _ = self._failures.pop(name, (0, None))
        self._failures[name] = (failures + 1, self._clock())
        if len(self._failures) > _MAX_NAMES:
            self._failures.popitem(last=False)
