"""`milvane usage`: what was used, in numbers and in money."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from milvane.cli.records import Records
from milvane.domain.errors import InvalidInput
from milvane.domain.prices import cost_of
from milvane.metering.ranges import choose_step_s, parse_instant, parse_span_s
from milvane.metering.reports import UsageReports
from milvane.metering.series import Curve, Grouping, Point, UsageQuery, make_point
from milvane.storage.database import Database
from milvane.storage.files import utc_now


@dataclass(frozen=True, slots=True)
class UsageOrder:
    """What was asked for, as it was written."""

    since: str
    until: str
    step: str | None
    models: Sequence[str]
    instances: Sequence[str]
    tenants: Sequence[str]
    group_by: str


def read_usage(records: Records, order: UsageOrder) -> list[dict[str, Any]]:
    """
    Read rows: one for each group and step, or one for each group.

    Raises:
        InvalidInput: If a time, a step or a group is not one.
    """
    query = to_query(order)

    async def read(database: Database) -> list[Curve]:
        reports = UsageReports(database, records.settings.metering, clock=utc_now)
        _, curves = await reports.curves(query)
        return curves

    curves = asyncio.run(records.run(read))
    span_s = (query.until - query.since).total_seconds()
    rows = []
    for curve in curves:
        if order.step is not None:
            rows += [_row(curve.group, point, query) for point in curve.points if point.requests]
        elif curve.total.requests:
            rows.append(_row(curve.group, make_point(query.since, curve.total, span_s), query))
    return rows


def to_query(order: UsageOrder) -> UsageQuery:
    """
    Read what was written.

    Raises:
        InvalidInput: If a time, a step or a group is not one.
    """
    now = utc_now()
    since = parse_instant(order.since, now, parameter="since")
    until = parse_instant(order.until, now, parameter="until")
    groups = {each.value for each in Grouping}
    if order.group_by not in groups:
        raise InvalidInput(f"usage is not told apart by {order.group_by!r}: {', '.join(groups)}")
    step_s = int(parse_span_s(order.step, parameter="step")) if order.step else None
    return UsageQuery(
        since=since,
        until=until,
        step_s=step_s or choose_step_s(since, until),
        models=order.models,
        instances=order.instances,
        tenants=order.tenants,
        group_by=Grouping(order.group_by),
    )


def _row(group: str, point: Point, query: UsageQuery) -> dict[str, Any]:
    row: dict[str, Any] = {query.group_by.value: group or "-"}
    if query.group_by is Grouping.NOTHING:
        row = {}
    row |= {
        "since": point.begins_at,
        "requests": point.requests,
        "refused": point.refusals,
        "tokens": point.tokens,
        "from_cache": point.cached_tokens,
        "success_rate": point.success_rate,
        "average_ms": _ms(point.average_s),
        "p99_ms": _ms(point.p99_s),
    }
    if query.group_by is Grouping.MODEL:
        row["hosted_usd"] = cost_of({group: point.tokens or 0})
    return row


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
