"""Slows down those who guess passwords."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

from milvane.domain.errors import QuotaExceeded

FREE_FAILURES = 3
"""Wrong passwords for a name that cost no waiting."""
MAX_WAIT_S = 60.0
_MAX_NAMES = 10_000


class SignInThrottle:
    """After a few failures each further one doubles the time until the next try for that name."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, datetime]] = OrderedDict()

    def check(self, name: str) -> None:
        """
        Let a try be made.

        Raises:
            QuotaExceeded: If it comes too soon after a failure.
        """
        failures, last_at = self._failures.get(name, (0, self._clock()))
        if failures < FREE_FAILURES:
            return
        wait_s = min(MAX_WAIT_S, 2.0 ** (failures - FREE_FAILURES))
        left_s = (last_at + timedelta(seconds=wait_s) - self._clock()).total_seconds()
        if left_s > 0:
            raise QuotaExceeded(
                f"too many wrong passwords: try again in {left_s:.0f} s", retry_after_s=left_s
            )

    def note_failure(self, name: str) -> None:
        """Count a wrong password."""
        failures, _ = self._failures.pop(name, (0, None))
        self._failures[name] = (failures + 1, self._clock())
        if len(self._failures) > _MAX_NAMES:
            self._failures.popitem(last=False)

    def forget(self, name: str) -> None:
        """Begin anew: somebody knew the password."""
        self._failures.pop(name, None)
