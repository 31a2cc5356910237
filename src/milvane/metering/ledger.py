"""The ledger in SQL: functions of a connection, each a part of one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, String, Table, delete, insert, select

from milvane.domain.usage import UsageKey, UsageRecord
from milvane.metering.folding import STEPS_S, SUMMED, Slot, Sums, floor_to, fold
from milvane.metering.settings import MeteringSettings
from milvane.storage.upserting import upsert_of
from milvane.storage.usage_tables import (
    USAGE_CALLS,
    USAGE_KEYS,
    USAGE_LATENCIES,
    USAGE_PRESENCE,
    USAGE_SEGMENTS,
    USAGE_SUMS,
)

_ROWS_AT_ONCE = 500


def add_segment(
    connection: Connection, name: str, records: Sequence[UsageRecord], now: datetime
) -> bool:
    """
    Enter a file of records, unless it has been entered already.

    Returns:
        Whether it was entered now.
    """
    found = connection.execute(
        select(USAGE_SEGMENTS.c.name).where(USAGE_SEGMENTS.c.name == name)
    ).first()
    if found is not None:
        return False
    connection.execute(insert(USAGE_SEGMENTS).values(name=name, folded_at=now))
    fitting = {key: _fitting(key) for key in {record.key for record in records}}
    if any(key != fitted for key, fitted in fitting.items()):
        records = [replace(record, key=fitting[record.key]) for record in records]
    key_ids = _number_keys(connection, {record.key for record in records})
    _insert_calls(connection, records, key_ids)
    _add_sums(connection, fold(records), key_ids)
    return True


def note_presence(connection: Connection, since: datetime, now: datetime) -> None:
    """Say that a server counted calls all the time from one instant to another."""
    rows = []
    for step_s in STEPS_S:
        begins_at = floor_to(since, step_s)
        while begins_at <= now:
            rows.append({"step_s": step_s, "begins_at": begins_at})
            begins_at += timedelta(seconds=step_s)
    for some in _portions(rows):
        statement = upsert_of(connection)(USAGE_PRESENCE).values(some)
        connection.execute(statement.on_conflict_do_nothing())


def forget(connection: Connection, settings: MeteringSettings, now: datetime) -> None:
    """Remove what has been kept for long enough."""
    kept_s = {
        10: settings.ten_seconds_kept_s,
        60: settings.minutes_kept_s,
        3600: settings.hours_kept_s,
    }
    calls_before = now - timedelta(seconds=settings.calls_kept_s)
    connection.execute(delete(USAGE_CALLS).where(USAGE_CALLS.c.ended_at < calls_before))
    for table in (USAGE_LATENCIES, USAGE_SUMS, USAGE_PRESENCE):
        for step_s, seconds in kept_s.items():
            before = now - timedelta(seconds=seconds)
            connection.execute(
                delete(table).where(table.c.step_s == step_s, table.c.begins_at < before)
            )


def forget_segments(connection: Connection, still_there: Collection[str], now: datetime) -> None:
    """Forget names of files that were removed a day ago and more."""
    old = USAGE_SEGMENTS.c.folded_at < now - timedelta(days=1)
    gone = USAGE_SEGMENTS.c.name.not_in(list(still_there))
    connection.execute(delete(USAGE_SEGMENTS).where(old, gone))


def _number_keys(connection: Connection, keys: Iterable[UsageKey]) -> Mapping[UsageKey, int]:
    """Find or make the number of each key."""
    numbers = {}
    # In one order in every server, so that two that make the same keys do not wait for each other.
    for key in sorted(keys, key=_key_values):
        values = dict(zip(_KEY_COLUMNS, _key_values(key), strict=True))
        statement = upsert_of(connection)(USAGE_KEYS).values(values)
        connection.execute(statement.on_conflict_do_nothing())
        same = [USAGE_KEYS.c[name] == value for name, value in values.items()]
        numbers[key] = connection.execute(select(USAGE_KEYS.c.id).where(*same)).scalar_one()
    return numbers


_KEY_COLUMNS = ("model", "provider", "instance", "operation", "tenant", "caller")


def _fitting(key: UsageKey) -> UsageKey:
    """
    Cut names to what the columns hold.

    Whoever binds a remote provider's model names it as they like. A name that the database refuses
    would keep its file, and all that come after it, out of the ledger for ever.
    """
    fitted = {}
    for name in _KEY_COLUMNS:
        if name != "operation":
            length = cast("String", USAGE_KEYS.c[name].type).length
            fitted[name] = getattr(key, name).replace("\0", "")[:length]
    return replace(key, **fitted)


def _key_values(key: UsageKey) -> tuple[str, ...]:
    return (key.model, key.provider, key.instance, key.operation.value, key.tenant, key.caller)


def _insert_calls(
    connection: Connection, records: Sequence[UsageRecord], key_ids: Mapping[UsageKey, int]
) -> None:
    rows = [
        {
            "id": record.id,
            "key_id": key_ids[record.key],
            "ended_at": record.ended_at,
            "duration_us": round(record.duration_s * 1e6),
            "outcome": record.outcome.value,
            "error": record.error,
            "inputs": record.inputs,
            "tokens": record.tokens,
            "cached_tokens": record.cached_tokens,
            "images": record.images,
        }
        for record in records
    ]
    if rows:
        connection.execute(insert(USAGE_CALLS), rows)


def _add_sums(
    connection: Connection, folded: Mapping[Slot, Sums], key_ids: Mapping[UsageKey, int]
) -> None:
    sums, latencies = [], []
    ordered = sorted(
        folded.items(), key=lambda item: (item[0].step_s, item[0].begins_at, key_ids[item[0].key])
    )
    for slot, values in ordered:
        place = {
            "step_s": slot.step_s,
            "begins_at": slot.begins_at,
            "key_id": key_ids[slot.key],
        }
        sums.append(place | {name: getattr(values, name) for name in SUMMED})
        latencies += [
            place | {"bin": number, "calls": calls}
            for number, calls in sorted(values.latency.items())
        ]
    _upsert_adding(connection, USAGE_SUMS, sums, SUMMED)
    _upsert_adding(connection, USAGE_LATENCIES, latencies, ("calls",))


def _upsert_adding(
    connection: Connection, table: Table, rows: list[dict[str, Any]], added: Sequence[str]
) -> None:
    """Insert rows, or add their values to the rows that are there."""
    for some in _portions(rows):
        statement = upsert_of(connection)(table).values(some)
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={name: table.c[name] + statement.excluded[name] for name in added},
        )
        connection.execute(statement)


def _portions(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    # A statement has room for a limited number of values.
    return (rows[first : first + _ROWS_AT_ONCE] for first in range(0, len(rows), _ROWS_AT_ONCE))
