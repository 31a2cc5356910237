"""Questions to the ledger: curves for charts, and totals for quotas and bills."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, Table, func, select

from milvane.metering.folding import SUMMED, Sums, floor_to
from milvane.metering.series import Curve, Grouping, UsageQuery, choose_step, draw, effective_step
from milvane.metering.settings import MeteringSettings
from milvane.storage.database import Database
from milvane.storage.usage_tables import (
    USAGE_KEYS,
    USAGE_LATENCIES,
    USAGE_PRESENCE,
    USAGE_SUMS,
)

StoredSums = dict[tuple[str, datetime], Sums]


class UsageReports:
    """Answers questions about usage."""

    def __init__(
        self, database: Database, settings: MeteringSettings, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._clock = clock
        self._kept_s = {
            10: settings.ten_seconds_kept_s,
            60: settings.minutes_kept_s,
            3600: settings.hours_kept_s,
        }

    async def curves(self, query: UsageQuery) -> tuple[int, list[Curve]]:
        """
        Draw curves.

        Returns:
            The width of a point in seconds, which is coarser than asked for where only that is
            still kept, and the curves, those with the most tokens first.

        Raises:
            InvalidInput: If the query makes no sense, or has too many points.
        """
        stored_step_s = choose_step(query, self._kept_s, self._clock())
        sums, presence = await self._database.read(
            partial(_read_steps, query=query, stored_step_s=stored_step_s)
        )
        return effective_step(query, stored_step_s), draw(sums, presence, query, stored_step_s)

    async def names(self, kind: Grouping) -> list[str]:
        """List the models, instances, tenants or callers that the ledger knows, sorted."""
        column = _group_column(kind)
        found = await self._database.read(
            lambda connection: connection.execute(select(column).distinct()).scalars().all()
        )
        return sorted(name for name in found if name)


def _group_column(kind: Grouping) -> Any:
    return USAGE_KEYS.c[kind.value]


def _read_steps(
    connection: Connection, query: UsageQuery, stored_step_s: int
) -> tuple[StoredSums, set[datetime]]:
    step_s = effective_step(query, stored_step_s)
    since = floor_to(query.since, step_s)
    sums: StoredSums = {}
    for row in connection.execute(_select_sums(query, stored_step_s, since)):
        values = sums.setdefault((row.group, row.begins_at), Sums())
        for name in SUMMED:
            setattr(values, name, int(getattr(row, name)))
    for row in connection.execute(_select_latencies(query, stored_step_s, since)):
        # Read a moment later: another server may have begun a step meanwhile.
        values = sums.setdefault((row.group, row.begins_at), Sums())
        values.latency[row.bin] = int(row.calls)
    there = select(USAGE_PRESENCE.c.begins_at).where(
        USAGE_PRESENCE.c.step_s == stored_step_s,
        USAGE_PRESENCE.c.begins_at >= since,
        USAGE_PRESENCE.c.begins_at < query.until,
    )
    return sums, set(connection.execute(there).scalars())


def _select_sums(query: UsageQuery, stored_step_s: int, since: datetime) -> Select[Any]:
    columns = [func.sum(USAGE_SUMS.c[name]).label(name) for name in SUMMED]
    return _chosen(USAGE_SUMS, columns, [], query, stored_step_s, since)


def _select_latencies(query: UsageQuery, stored_step_s: int, since: datetime) -> Select[Any]:
    calls = func.sum(USAGE_LATENCIES.c.calls).label("calls")
    return _chosen(USAGE_LATENCIES, [calls], [USAGE_LATENCIES.c.bin], query, stored_step_s, since)


def _chosen(
    table: Table,
    sums: Sequence[Any],
    told_apart: Sequence[Any],
    query: UsageQuery,
    stored_step_s: int,
    since: datetime,
) -> Select[Any]:
    """Sum columns of a table over the calls that a query is about."""
    group: list[Any] = []
    if query.group_by is not Grouping.NOTHING:
        group = [_group_column(query.group_by).label("group")]
    label = group or [func.max("").label("group")]
    statement = select(*label, table.c.begins_at, *told_apart, *sums).join_from(table, USAGE_KEYS)
    statement = statement.where(
        table.c.step_s == stored_step_s,
        table.c.begins_at >= since,
        table.c.begins_at < query.until,
        *_conditions(query),
    )
    grouped = [_group_column(query.group_by)] if group else []
    return statement.group_by(*grouped, table.c.begins_at, *told_apart)


def _conditions(query: UsageQuery) -> list[Any]:
    choices: dict[str, Sequence[str]] = {
        "model": query.models,
        "instance": query.instances,
        "operation": [operation.value for operation in query.operations],
        "tenant": query.tenants,
        "caller": query.callers,
    }
    return [USAGE_KEYS.c[name].in_(chosen) for name, chosen in choices.items() if chosen]


def read_tokens(connection: Connection, since: datetime) -> Mapping[tuple[str, str, str, str], int]:
    """Sum up tokens of whole hours, by tenant, caller, instance and model."""
    keys = (USAGE_KEYS.c.tenant, USAGE_KEYS.c.caller, USAGE_KEYS.c.instance, USAGE_KEYS.c.model)
    statement = (
        select(*keys, func.sum(USAGE_SUMS.c.tokens))
        .join_from(USAGE_SUMS, USAGE_KEYS)
        .where(USAGE_SUMS.c.step_s == 3600, USAGE_SUMS.c.begins_at >= since)
        .group_by(*keys)
    )
    return {
        (tenant, caller, instance, model): int(tokens)
        for tenant, caller, instance, model, tokens in connection.execute(statement)
    }
