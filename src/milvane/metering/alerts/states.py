"""
When a rule fires and when it is over. Pure.

Quiet, then pending while the condition is broken, firing once it was for long enough, resolved once
it was well for long enough. Between the limit and the limit to resolve nothing changes, so a value
that swings there neither ends an alert nor begins another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from milvane.metering.alerts.rules import Condition


class AlertState(Enum):
    """How a rule stands."""

    QUIET = "quiet"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    """Quiet again after having fired, until the condition is broken the next time."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rule stood when it was last looked at."""

    state: AlertState
    since: datetime
    """When the state began."""
    looked_at: datetime
    clear_since: datetime | None = None
    """While firing: since when it is well without a pause."""
    value: float | None = None
    is_announced: bool = False
    """Whether somebody was told of the firing, or would have been if there were a channel."""


def advance(
    before: Standing | None,
    condition: Condition,
    value: float | None,
    now: datetime,
    *,
    max_pause_s: float,
) -> Standing:
    """
    Say how a rule stands now.

    Args:
        before: How it stood; nothing at the first look.

        condition: What is watched.

        value: The number now; nothing if there is nothing to say.

        now: The time of day.

        max_pause_s: If nobody has looked for longer than this, waiting begins anew: what was
            between is not known.
    """
    standing = before or Standing(AlertState.QUIET, now, now)
    has_paused = now - standing.looked_at > timedelta(seconds=max_pause_s)
    standing = replace(standing, looked_at=now, value=value)
    if standing.state is AlertState.FIRING:
        return _go_on_firing(standing, condition, now, has_paused=has_paused)
    if not condition.is_broken_by(value):
        is_over = standing.state is AlertState.PENDING
        return replace(standing, state=AlertState.QUIET, since=now) if is_over else standing
    if standing.state is not AlertState.PENDING or has_paused:
        standing = replace(standing, state=AlertState.PENDING, since=now)
    if now - standing.since < timedelta(seconds=condition.for_s):
        return standing
    return replace(
        standing, state=AlertState.FIRING, since=now, clear_since=None, is_announced=False
    )


def _go_on_firing(
    standing: Standing, condition: Condition, now: datetime, *, has_paused: bool
) -> Standing:
    if not condition.is_well_at(standing.value):
        return replace(standing, clear_since=None)
    since = standing.clear_since
    since = now if since is None or has_paused else since
    if now - since < timedelta(seconds=condition.resolve_for_s):
        return replace(standing, clear_since=since)
    return replace(standing, state=AlertState.RESOLVED, since=now, clear_since=None)
