"""Usage: the curves of the five charts, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import fields
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from milvane.apis.management.bundle import Management
from milvane.apis.management.wire import CurveAnswer, UsageAnswer, UsageNames
from milvane.domain.usage import Operation
from milvane.metering.ranges import choose_step_s, parse_instant, parse_span_s
from milvane.metering.series import Curve, Grouping, Point, UsageQuery, make_point

MAX_FILTER = 100


class UsageParameters(BaseModel):
    """Which calls, of which time, in which steps."""

    model_config = ConfigDict(extra="forbid")

    since: str = Field("1h", description="So long ago (10m, 24h, 7d), or ISO 8601.")
    until: str = Field("now", description="As `since`.")
    step: str | None = Field(None, description="Width of a point (10s, 1m, 1h); chosen if absent.")
    model: list[str] = Field([], max_length=MAX_FILTER)
    instance: list[str] = Field([], max_length=MAX_FILTER)
    operation: list[Operation] = Field([], max_length=MAX_FILTER)
    tenant: list[str] = Field([], max_length=MAX_FILTER)
    caller: list[str] = Field([], max_length=MAX_FILTER)
    group_by: Grouping = Grouping.NOTHING


Asked = Annotated[UsageParameters, Query()]


def usage_router(management: Management) -> APIRouter:
    """Build the routes of usage."""
    router = APIRouter(prefix="/usage")

    async def draw(asked: UsageParameters) -> tuple[UsageQuery, int, list[Curve]]:
        query = to_query(asked, management)
        step_s, curves = await management.reports.curves(query)
        return query, step_s, curves

    @router.get("")
    async def show_usage(asked: Asked) -> UsageAnswer:
        """Draw the five charts: tokens, QPS, success rate, tokens/s, response time."""
        query, step_s, curves = await draw(asked)
        span_s = (query.until - query.since).total_seconds()
        return UsageAnswer(
            since=query.since,
            until=query.until,
            step_s=step_s,
            curves=[
                CurveAnswer.of(curve, make_point(query.since, curve.total, span_s))
                for curve in curves
            ],
        )

    @router.get(".csv", response_class=Response)
    async def download_usage(asked: Asked) -> Response:
        """Give the same as a table: one row for each group and step."""
        _, _, curves = await draw(asked)
        headers = {"content-disposition": 'attachment; filename="milvane-usage.csv"'}
        return Response(write_csv(curves), media_type="text/csv", headers=headers)

    @router.get("/names")
    async def show_names() -> UsageNames:
        """List what usage can be filtered by."""
        names = management.reports.names
        return UsageNames(
            models=await names(Grouping.MODEL),
            instances=await names(Grouping.INSTANCE),
            operations=[operation.value for operation in Operation],
            tenants=await names(Grouping.TENANT),
            callers=await names(Grouping.CALLER),
        )

    return router


def to_query(asked: UsageParameters, management: Management) -> UsageQuery:
    """
    Read the parameters of a request.

    Raises:
        InvalidInput: If a time or a step is not one.
    """
    now = management.clock()
    since = parse_instant(asked.since, now, parameter="since")
    until = parse_instant(asked.until, now, parameter="until")
    return UsageQuery(
        since=since,
        until=until,
        step_s=int(parse_span_s(asked.step, parameter="step"))
        if asked.step
        else choose_step_s(since, until),
        models=asked.model,
        instances=asked.instance,
        operations=asked.operation,
        tenants=asked.tenant,
        callers=asked.caller,
        group_by=asked.group_by,
    )


def write_csv(curves: Iterable[Curve]) -> str:
    """Write curves as a table; a gap is an empty cell."""
    names = [field.name for field in fields(Point) if field.name != "begins_at"]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["group", "at", *names])
    for curve in curves:
        for point in curve.points:
            values = [getattr(point, name) for name in names]
            writer.writerow([_as_text(curve.group), point.begins_at.isoformat(), *values])
    return table.getvalue()


def _as_text(group: str) -> str:
    # A spreadsheet takes what begins like this for a formula.
    return f"'{group}" if group.startswith(("=", "+", "-", "@")) else group
