"""Times as people write them: an instant, or so long ago. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from milvane.domain.errors import InvalidInput

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_MAX_SPAN_S = 100 * 366 * 86_400.0


def parse_span_s(text: str, *, parameter: str) -> float:
    """
    Read a span of time such as ``30s``, ``10m``, ``24h``, ``7d``; a bare number is seconds.

    Raises:
        InvalidInput: If it is not one.
    """
    bare = text.strip()
    found = _SPAN.fullmatch(bare if bare[-1:].isalpha() else f"{bare}s")
    seconds = float(found[1]) * _SECONDS[found[2]] if found else -1.0
    if not 0 <= seconds <= _MAX_SPAN_S:
        raise InvalidInput(
            f"{text!r} is not a span of time: write 30s, 10m, 24h, 7d or 2w", parameter=parameter
        )
    return seconds


def parse_instant(text: str, now: datetime, *, parameter: str) -> datetime:
    """
    Read an instant: ``now``, a span that is so long ago, or ISO 8601 (UTC if it names no zone).

    Raises:
        InvalidInput: If it is none of these.
    """
    bare = text.strip()
    if bare == "now":
        return now
    if _SPAN.fullmatch(bare):
        return now - timedelta(seconds=parse_span_s(bare, parameter=parameter))
    try:
        # Python 3.10 does not read the Z that everybody writes.
        instant = datetime.fromisoformat(f"{bare[:-1]}+00:00" if bare.endswith("Z") else bare)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is not a time: write 24h for so long ago, now, or 2026-01-31T12:00:00Z",
            parameter=parameter,
        ) from error
    return instant if instant.tzinfo else instant.replace(tzinfo=timezone.utc)


def choose_step_s(since: datetime, until: datetime, *, points: int = 240) -> int:
    """Choose a step that makes about so many points of a time range."""
    wanted = (until - since).total_seconds() / points
    steps = (10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
    days = -(-wanted // _SECONDS["d"])
    return next((step for step in steps if step >= wanted), int(days * _SECONDS["d"]))
