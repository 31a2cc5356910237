"""Whether and when a failed request is sent again. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

_PASSING_STATUSES = frozenset({408, 425, 429})
_PERMANENT_FROM_500 = frozenset({501, 505})
_JITTER_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request got no vectors."""

    message: str
    is_passing: bool
    """The same request may succeed later."""
    is_sick: bool = False
    """It speaks of the endpoint's health rather than of the request or the caller's quota."""
    retry_after_s: float | None = None
    """What the endpoint asked to wait."""


def is_passing_status(status: int) -> bool:
    """Say whether a reply with this status may be another one later."""
    return status in _PASSING_STATUSES or (status >= 500 and status not in _PERMANENT_FROM_500)


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """
    Read a `Retry-After` header: seconds, or a date.

    Returns:
        Seconds from now, never negative; none if there is no such header that can be read.
    """
    if not value:
        return None
    try:
        wait_s = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        wait_s = (at.replace(tzinfo=at.tzinfo or timezone.utc) - now).total_seconds()
    return max(wait_s, 0.0) if math.isfinite(wait_s) else None


def plan_retry(
    failure: Failure, *, attempts: int, max_attempts: int, time_left_s: float, jitter: float
) -> float | None:
    """
    Say how long to wait before the next attempt.

    Args:
        failure: What the last attempt met.

        attempts: How many there were, from 1.

        max_attempts: How many there may be.

        time_left_s: Until the batch must be done.

        jitter: In ``0..1``, so that callers do not come back all at once.

    Returns:
        Seconds; none if there should be no other attempt, or no time would be left for one.
    """
    if not failure.is_passing or attempts >= max_attempts:
        return None
    wait_s = failure.retry_after_s
    if wait_s is None:
        wait_s = 2.0 ** (attempts - 1) * (1 + _JITTER_SHARE * jitter)
    return wait_s if wait_s < time_left_s else None
