"""What has happened, and who is to be told: history and notifications in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from milvane.metering.alerts.rules import Rule, Severity
from milvane.metering.alerts.settings import AlertSettings
from milvane.metering.alerts.states import AlertState, Standing
from milvane.metering.alerts.wording import word
from milvane.storage.alert_tables import ALERT_CHANNELS, ALERT_DELIVERIES, ALERT_EPISODES

MAX_EPISODES = 1000
"""Episodes that one look at the history shows."""
CLAIM_S = 120.0
"""So long a notification is one server's to send; if that dies, another may try after this."""


class Outcome(Enum):
    """What has become of a notification."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification to one channel."""

    number: int
    channel_id: str
    channel: str
    state: AlertState
    """What it tells: firing, or resolved."""
    outcome: Outcome
    title: str
    body: str
    attempts: int
    due_at: datetime
    ended_at: datetime | None
    error: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Episode:
    """An alert, from firing to resolved."""

    number: int
    rule_id: str
    rule: str
    severity: Severity
    pending_at: datetime
    fired_at: datetime
    fired_value: float | None
    resolved_at: datetime | None
    resolved_value: float | None
    deliveries: Sequence[Delivery]


def open_episode(
    connection: Connection, rule: Rule, standing: Standing, pending_at: datetime
) -> int:
    """Begin an episode of a rule that has just begun to fire; returns its number."""
    made = connection.execute(
        insert(ALERT_EPISODES)
        .values(
            rule_id=rule.rule_id,
            rule=rule.name,
            severity=rule.severity.value,
            pending_at=pending_at,
            fired_at=standing.since,
            fired_value=standing.value,
        )
        .returning(ALERT_EPISODES.c.number)
    )
    return int(made.scalar_one())


def close_episode(
    connection: Connection, rule: Rule, standing: Standing, episode: int, now: datetime
) -> None:
    """End an episode; who was told that it fires is told that it is over."""
    mine = ALERT_EPISODES.c.number == episode
    ended = {"resolved_at": now, "resolved_value": standing.value}
    connection.execute(update(ALERT_EPISODES).where(mine).values(ended))
    if standing.is_announced:
        told = select(ALERT_DELIVERIES.c.channel_id).where(ALERT_DELIVERIES.c.episode == episode)
        channels = connection.execute(told.distinct()).scalars().all()
        _notify(connection, rule, standing, AlertState.RESOLVED, episode, channels, now)


def announce(
    connection: Connection, rule: Rule, standing: Standing, episode: int, now: datetime
) -> None:
    """Have everybody told that a rule fires."""
    channels: Sequence[str] = rule.channels
    if not channels:
        channels = connection.execute(select(ALERT_CHANNELS.c.channel_id)).scalars().all()
    _notify(connection, rule, standing, AlertState.FIRING, episode, channels, now)


def _notify(
    connection: Connection,
    rule: Rule,
    standing: Standing,
    state: AlertState,
    episode: int,
    channels: Sequence[str],
    now: datetime,
) -> None:
    since = now if state is AlertState.RESOLVED else standing.since
    title, body = word(rule, state, standing.value, since)
    for channel_id in sorted(channels):
        connection.execute(
            insert(ALERT_DELIVERIES).values(
                episode=episode,
                channel_id=channel_id,
                state=state.value,
                outcome=Outcome.WAITING.value,
                title=title,
                body=body,
                attempts=0,
                due_at=now,
                error="",
            )
        )


def list_episodes(
    connection: Connection,
    *,
    limit: int = 100,
    before: int | None = None,
    rule_id: str | None = None,
) -> list[Episode]:
    """
    List what has happened, newest first.

    Args:
        connection: Where it is.

        limit: How many, at most `MAX_EPISODES`.

        before: Only those with a smaller number.

        rule_id: Only those of this rule.
    """
    statement = select(ALERT_EPISODES).order_by(ALERT_EPISODES.c.number.desc())
    if before is not None:
        statement = statement.where(ALERT_EPISODES.c.number < before)
    if rule_id is not None:
        statement = statement.where(ALERT_EPISODES.c.rule_id == rule_id)
    rows = connection.execute(statement.limit(min(limit, MAX_EPISODES))).all()
    deliveries = _deliveries_of(connection, [row.number for row in rows])
    return [
        Episode(
            number=row.number,
            rule_id=row.rule_id,
            rule=row.rule,
            severity=Severity(row.severity),
            pending_at=row.pending_at,
            fired_at=row.fired_at,
            fired_value=row.fired_value,
            resolved_at=row.resolved_at,
            resolved_value=row.resolved_value,
            deliveries=deliveries.get(row.number, ()),
        )
        for row in rows
    ]


def _deliveries_of(
    connection: Connection, episodes: Sequence[int]
) -> Mapping[int, Sequence[Delivery]]:
    statement = _select_deliveries().where(ALERT_DELIVERIES.c.episode.in_(episodes))
    found: dict[int, list[Delivery]] = {}
    for row in connection.execute(statement.order_by(ALERT_DELIVERIES.c.number)):
        found.setdefault(row.episode, []).append(_read_delivery(row))
    return found


def oldest_waiting(connection: Connection) -> list[Delivery]:
    """List the oldest notification that waits, of each channel: none overtakes another one."""
    waiting = ALERT_DELIVERIES.c.outcome == Outcome.WAITING.value
    oldest = select(func.min(ALERT_DELIVERIES.c.number)).where(waiting)
    oldest = oldest.group_by(ALERT_DELIVERIES.c.channel_id)
    statement = _select_deliveries().where(ALERT_DELIVERIES.c.number.in_(oldest))
    return [_read_delivery(row) for row in connection.execute(statement)]


def claim(connection: Connection, delivery: Delivery, now: datetime) -> bool:
    """Take a notification to send it, unless another server has; says whether it is taken."""
    mine = (
        ALERT_DELIVERIES.c.number == delivery.number,
        ALERT_DELIVERIES.c.attempts == delivery.attempts,
        ALERT_DELIVERIES.c.outcome == Outcome.WAITING.value,
    )
    values = {"attempts": delivery.attempts + 1, "due_at": now + timedelta(seconds=CLAIM_S)}
    return connection.execute(update(ALERT_DELIVERIES).where(*mine).values(values)).rowcount == 1


def settle(
    connection: Connection, delivery: Delivery, error: str, settings: AlertSettings, now: datetime
) -> Outcome:
    """Enter how a claimed notification went; an error that is empty is none."""
    attempts = delivery.attempts + 1
    values: dict[str, Any] = {"error": error[:512]}
    outcome = Outcome.SENT
    if error and attempts < settings.attempts:
        outcome = Outcome.WAITING
        wait_s = min(settings.max_backoff_s, settings.backoff_s * 2.0 ** (attempts - 1))
        values["due_at"] = now + timedelta(seconds=wait_s)
    else:
        outcome = Outcome.FAILED if error else Outcome.SENT
        values["ended_at"] = now
    mine = (ALERT_DELIVERIES.c.number == delivery.number, ALERT_DELIVERIES.c.attempts == attempts)
    connection.execute(
        update(ALERT_DELIVERIES).where(*mine).values(values | {"outcome": outcome.value})
    )
    return outcome


def forget_episodes(connection: Connection, before: datetime) -> None:
    """Remove what was over by then."""
    connection.execute(delete(ALERT_EPISODES).where(ALERT_EPISODES.c.resolved_at < before))


def _select_deliveries() -> Any:
    return (
        select(
            ALERT_DELIVERIES,
            ALERT_CHANNELS.c.name.label("channel"),
            ALERT_EPISODES.c.severity,
        )
        .join_from(ALERT_DELIVERIES, ALERT_CHANNELS)
        .join(ALERT_EPISODES, ALERT_EPISODES.c.number == ALERT_DELIVERIES.c.episode)
    )


def _read_delivery(row: Any) -> Delivery:
    return Delivery(
        number=row.number,
        channel_id=row.channel_id,
        channel=row.channel,
        state=AlertState(row.state),
        outcome=Outcome(row.outcome),
        title=row.title,
        body=row.body,
        attempts=row.attempts,
        due_at=row.due_at,
        ended_at=row.ended_at,
        error=row.error,
        severity=Severity(row.severity),
    )
