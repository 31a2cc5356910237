"""From sums of usage to the number that a rule is about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from milvane.metering.alerts.rules import FINE_WINDOW_S, Condition, Watched
from milvane.metering.folding import floor_to
from milvane.metering.series import Curve, Point, UsageQuery, make_point


def query_of(condition: Condition, now: datetime) -> UsageQuery:
    """
    Ask for the calls of a condition's window: the last whole steps that are over.

    Args:
        condition: What is watched; not a quota.

        now: The time of day, less what usage takes to come into the ledger.
    """
    step_s = 10 if condition.window_s <= FINE_WINDOW_S else 60
    until = floor_to(now, step_s)
    return UsageQuery(
        since=until - timedelta(seconds=condition.window_s),
        until=until,
        step_s=step_s,
        models=condition.models,
        instances=condition.instances,
        operations=condition.operations,
    )


def value_of(condition: Condition, curve: Curve, step_s: int) -> float | None:
    """
    Say what the calls of the window come to.

    Args:
        condition: What is watched.

        curve: The answer to `query_of`.

        step_s: The width of its points.

    Returns:
        The number; nothing if no server was there, if there were too few calls, or if the number
        is one of calls that there were none of. Rates are over the time that a server was there.
    """
    present_s = step_s * sum(point.requests is not None for point in curve.points)
    if not present_s or curve.total.requests < condition.min_requests:
        return None
    point = make_point(curve.points[0].begins_at, curve.total, present_s)
    if condition.watched is Watched.ERROR_SHARE:
        return None if point.success_rate is None else 1.0 - point.success_rate
    if condition.watched is Watched.REFUSED_SHARE:
        return (point.refusals or 0) / point.requests if point.requests else None
    return _read(point, condition.watched)


def quota_value(condition: Condition, shares: Mapping[str, float]) -> float | None:
    """Say how full the fullest of the watched quotas is; nothing if there are none of them."""
    watched = [
        share for name, share in shares.items() if not condition.quotas or name in condition.quotas
    ]
    return max(watched, default=None)


def _read(point: Point, watched: Watched) -> float | None:
    value: float | None = getattr(point, watched.value)
    return value
