"""Sums into the curves of a chart: tokens, QPS, success rate, tokens/s, response time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from milvane.domain.errors import InvalidInput
from milvane.domain.usage import Operation
from milvane.metering.folding import STEPS_S, Sums, floor_to
from milvane.metering.latency import quantile_s

MAX_POINTS = 10_000
"""Points of one curve."""


class Grouping(Enum):
    """What the curves of one chart are told apart by."""

    NOTHING = "nothing"
    MODEL = "model"
    INSTANCE = "instance"
    OPERATION = "operation"
    TENANT = "tenant"
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What a chart is to show; an empty choice is everything."""

    since: datetime
    until: datetime
    step_s: int
    """Width of a point, a multiple of 10 s."""
    models: Sequence[str] = ()
    instances: Sequence[str] = ()
    operations: Sequence[Operation] = ()
    tenants: Sequence[str] = ()
    callers: Sequence[str] = ()
    group_by: Grouping = Grouping.NOTHING


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a curve; nothing where there is nothing to say."""

    begins_at: datetime
    requests: int | None
    """0 while a server was there and nobody called; nothing while none was there."""
    refusals: int | None
    """Of these, what the caller did wrong or may not do."""
    tokens: int | None
    cached_tokens: int | None
    images: int | None
    queries_per_s: float | None
    tokens_per_s: float | None
    success_rate: float | None
    """Successful calls among those that were not refused, from 0 to 1."""
    average_s: float | None
    """Response time of the successful calls, as the others below."""
    median_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One group's points, oldest first, without holes: a step that has no calls has a point too."""

    group: str
    """Empty where nothing is told apart."""
    points: Sequence[Point]
    total: Sums = field(default_factory=Sums)
    """Of the whole time."""


def choose_step(query: UsageQuery, kept_s: Mapping[int, float], now: datetime) -> int:
    """
    Say which of the stored steps a query is answered from.

    Args:
        query: Its step may be finer than what is kept of so long ago.

        kept_s: For how long each of `STEPS_S` is kept.

        now: The time of day.

    Returns:
        The widest that divides the query's step and is still kept since then, else the finest
        that is; the hourly one if none is.

    Raises:
        InvalidInput: If the query makes no sense, or has too many points.
    """
    if query.since >= query.until:
        raise InvalidInput("the time range is empty: it ends before it begins", parameter="until")
    if query.step_s < STEPS_S[0] or query.step_s % STEPS_S[0]:
        raise InvalidInput(
            f"a step is a multiple of {STEPS_S[0]} seconds, not {query.step_s}", parameter="step"
        )
    kept = [s for s in STEPS_S if query.since >= now - timedelta(seconds=kept_s[s])]
    dividing = [step_s for step_s in kept if query.step_s % step_s == 0]
    chosen = max(dividing) if dividing else min(kept, default=STEPS_S[-1])
    width = effective_step(query, chosen)
    points = (query.until - query.since) / timedelta(seconds=width)
    if points > MAX_POINTS:
        raise InvalidInput(
            f"{points:.0f} points are too many, {MAX_POINTS} may be asked for: "
            "choose a wider step or a shorter time",
            parameter="step",
        )
    return chosen


def effective_step(query: UsageQuery, stored_step_s: int) -> int:
    """Say how wide the points become: as asked for, or as coarse as what is still kept."""
    return -(-query.step_s // stored_step_s) * stored_step_s


def draw(
    sums: Mapping[tuple[str, datetime], Sums],
    presence: Collection[datetime],
    query: UsageQuery,
    stored_step_s: int,
) -> list[Curve]:
    """
    Draw the curves of a query.

    Args:
        sums: What is stored, by group and the beginning of a stored step.

        presence: Beginnings of the stored steps in which a server was there.

        query: What to show.

        stored_step_s: How wide the stored steps are.

    Returns:
        One curve for each group, those with the most tokens first.
    """
    step_s = effective_step(query, stored_step_s)
    merged: dict[str, dict[datetime, Sums]] = {}
    for (group, begins_at), values in sums.items():
        steps = merged.setdefault(group, {})
        steps.setdefault(floor_to(begins_at, step_s), Sums()).merge(values)
    there = {floor_to(begins_at, step_s) for begins_at in presence}
    if not merged and query.group_by is Grouping.NOTHING:
        merged[""] = {}
    curves = [_draw_one(group, steps, there, query, step_s) for group, steps in merged.items()]
    return sorted(curves, key=lambda curve: (-curve.total.tokens, curve.group))


def _draw_one(
    group: str,
    steps: Mapping[datetime, Sums],
    there: Collection[datetime],
    query: UsageQuery,
    step_s: int,
) -> Curve:
    points, total = [], Sums()
    begins_at = floor_to(query.since, step_s)
    while begins_at < query.until:
        values = steps.get(begins_at)
        if values is not None:
            total.merge(values)
        elif begins_at in there:
            values = Sums()
        points.append(make_point(begins_at, values, step_s))
        begins_at += timedelta(seconds=step_s)
    return Curve(group, points, total)


def make_point(begins_at: datetime, values: Sums | None, step_s: float) -> Point:
    """Say what the calls of one step come to; none where nobody was there to count them."""
    if values is None:
        return Point(begins_at, *(None,) * 11)
    successes, answered = values.successes, values.requests - values.refusals
    return Point(
        begins_at=begins_at,
        requests=values.requests,
        refusals=values.refusals,
        tokens=values.tokens,
        cached_tokens=values.cached_tokens,
        images=values.images,
        queries_per_s=values.requests / step_s,
        tokens_per_s=values.tokens / step_s,
        success_rate=successes / answered if answered else None,
        average_s=values.duration_us / successes / 1e6 if successes else None,
        median_s=quantile_s(values.latency, 0.5),
        p99_s=quantile_s(values.latency, 0.99),
    )
