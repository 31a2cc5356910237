"""Rules, channels and standings in SQL: functions of a connection; the audit log has changes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from milvane.domain.errors import Conflict, InvalidInput, NotFound
from milvane.metering.alerts.episodes import close_episode
from milvane.metering.alerts.notifying import check_address, kind_of
from milvane.metering.alerts.rules import Channel, Condition, Rule, Severity
from milvane.metering.alerts.states import AlertState, Standing
from milvane.metering.alerts.wording import check_template
from milvane.storage.alert_tables import ALERT_CHANNELS, ALERT_RULES, ALERT_STANDINGS
from milvane.storage.sealing import is_sealed, seal, unseal

MAX_RULES = 1000
UNREADABLE = "unreadable"
"""Kind of a channel whose address nobody can open any more."""
_CONDITION = TypeAdapter(Condition)


class AuditedChange(Protocol):
    """A transaction that changes something, and says so in the audit log."""

    @property
    def connection(self) -> Connection:
        """Where the change is made."""

    @property
    def now(self) -> datetime:
        """When it is made."""

    def note(self, action: str, subject: str, **detail: Any) -> None:
        """Enter what was done in the audit log."""


@dataclass(frozen=True, slots=True)
class RuleOrder:
    """What an operator says of a rule."""

    name: str
    condition: Condition
    severity: Severity = Severity.WARNING
    channels: Sequence[str] = ()
    """Ids or names; empty for all that there are."""
    title: str = ""
    body: str = ""
    is_enabled: bool = True


# --- rules ---------------------------------------------------------------------------------------


def create_rule(change: AuditedChange, order: RuleOrder) -> Rule:
    """
    Watch something.

    Raises:
        InvalidInput: If it makes no sense.
        NotFound: If a channel is not there.
        Conflict: If there is a rule of this name, or there are too many rules.
    """
    values = _check_order(change.connection, order)
    if len(list_rules(change.connection)) >= MAX_RULES:
        raise Conflict(f"there are {MAX_RULES} rules: remove some first")
    rule_id = f"rule-{secrets.token_hex(6)}"
    row = {"rule_id": rule_id, "silenced_until": None, "created_at": change.now}
    try:
        with change.connection.begin_nested():
            change.connection.execute(insert(ALERT_RULES).values(values | row))
    except IntegrityError as error:
        raise Conflict(f"there is a rule {order.name!r} already") from error
    change.note("alert.create", order.name.strip(), rule_id=rule_id)
    return find_rule(change.connection, rule_id)


def change_rule(change: AuditedChange, name: str, order: RuleOrder) -> Rule:
    """
    Set everything about a rule anew; how it stands is judged by the new condition from then on.

    Raises:
        InvalidInput: If it makes no sense.
        NotFound: If the rule or a channel is not there.
        Conflict: If another rule has the new name.
    """
    rule = find_rule(change.connection, name)
    values = _check_order(change.connection, order)
    mine = ALERT_RULES.c.rule_id == rule.rule_id
    try:
        with change.connection.begin_nested():
            change.connection.execute(update(ALERT_RULES).where(mine).values(values))
    except IntegrityError as error:
        raise Conflict(f"there is a rule {order.name!r} already") from error
    if not order.is_enabled:
        _stop(change, rule)
    change.note("alert.change", order.name.strip(), rule_id=rule.rule_id)
    return find_rule(change.connection, rule.rule_id)


def delete_rule(change: AuditedChange, name: str) -> None:
    """
    Watch something no more; if it fires, that is over.

    Raises:
        NotFound: If there is no such rule.
    """
    rule = find_rule(change.connection, name)
    _stop(change, rule)
    change.connection.execute(delete(ALERT_RULES).where(ALERT_RULES.c.rule_id == rule.rule_id))
    change.note("alert.delete", rule.name, rule_id=rule.rule_id)


def silence_rule(change: AuditedChange, name: str, until: datetime | None) -> Rule:
    """
    Tell nobody that a rule fires until a time; those who were told are told that it is over.

    Args:
        change: The transaction.

        name: The rule's id or name.

        until: If it still fires then, it is told then; nothing ends the silence.

    Raises:
        NotFound: If there is no such rule.
        InvalidInput: If the time is past.
    """
    if until is not None and until <= change.now:
        raise InvalidInput("a silence ends in the future", parameter="until")
    rule = find_rule(change.connection, name)
    mine = ALERT_RULES.c.rule_id == rule.rule_id
    change.connection.execute(update(ALERT_RULES).where(mine).values(silenced_until=until))
    shown = until.isoformat() if until else ""
    action = "alert.silence" if until else "alert.unsilence"
    change.note(action, rule.name, rule_id=rule.rule_id, until=shown)
    return find_rule(change.connection, rule.rule_id)


def list_rules(connection: Connection) -> list[Rule]:
    """List rules by name."""
    rows = connection.execute(select(ALERT_RULES).order_by(ALERT_RULES.c.name))
    return [_read_rule(row) for row in rows]


def find_rule(connection: Connection, name: str) -> Rule:
    """
    Find a rule by its id or its name.

    Raises:
        NotFound: If there is none.
    """
    for column in (ALERT_RULES.c.rule_id, ALERT_RULES.c.name):
        row = connection.execute(select(ALERT_RULES).where(column == name)).first()
        if row is not None:
            return _read_rule(row)
    raise NotFound(f"there is no alert rule {name!r}")


def _read_rule(row: Row[Any]) -> Rule:
    return Rule(
        rule_id=row.rule_id,
        name=row.name,
        condition=_CONDITION.validate_python(row.condition),
        severity=Severity(row.severity),
        channels=row.channels,
        title=row.title,
        body=row.body,
        is_enabled=row.is_enabled,
        silenced_until=row.silenced_until,
        created_at=row.created_at,
    )


def _check_order(connection: Connection, order: RuleOrder) -> dict[str, Any]:
    name = order.name.strip()
    if not 1 <= len(name) <= 128 or "/" in name:
        raise InvalidInput("a rule has a name of 1 to 128 characters, no slash", parameter="name")
    order.condition.check()
    check_template(order.title, parameter="title")
    check_template(order.body, parameter="body")
    channels = [find_channel(connection, channel).channel_id for channel in order.channels]
    return {
        "name": name,
        "condition": _CONDITION.dump_python(order.condition, mode="json"),
        "severity": order.severity.value,
        "channels": list(dict.fromkeys(channels)),
        "title": order.title,
        "body": order.body,
        "is_enabled": order.is_enabled,
    }


def _stop(change: AuditedChange, rule: Rule) -> None:
    """End what a rule has begun, and forget how it stood."""
    standing, episode = read_standings(change.connection).get(rule.rule_id, (None, None))
    if standing is not None and episode is not None and standing.state is AlertState.FIRING:
        close_episode(change.connection, rule, standing, episode, change.now)
    mine = ALERT_STANDINGS.c.rule_id == rule.rule_id
    change.connection.execute(delete(ALERT_STANDINGS).where(mine))


# --- standings -----------------------------------------------------------------------------------


def read_standings(connection: Connection) -> Mapping[str, tuple[Standing, int | None]]:
    """Read how rules stand, each with the number of its episode while it fires, by their ids."""
    return {
        row.rule_id: (
            Standing(
                AlertState(row.state),
                row.since,
                row.looked_at,
                clear_since=row.clear_since,
                value=row.value,
                is_announced=row.is_announced,
            ),
            row.episode,
        )
        for row in connection.execute(select(ALERT_STANDINGS))
    }


def write_standing(
    connection: Connection, rule_id: str, standing: Standing, episode: int | None
) -> None:
    """Write down how a rule stands."""
    values = {
        name: value.value if isinstance(value, Enum) else value
        for name, value in asdict(standing).items()
    } | {"episode": episode}
    mine = update(ALERT_STANDINGS).where(ALERT_STANDINGS.c.rule_id == rule_id).values(values)
    if not connection.execute(mine).rowcount:
        connection.execute(insert(ALERT_STANDINGS).values(values | {"rule_id": rule_id}))


# --- channels ------------------------------------------------------------------------------------


def create_channel(change: AuditedChange, name: str, url: str) -> Channel:
    """
    Make a way to tell somebody.

    Args:
        change: The transaction.

        name: What it is called.

        url: As Apprise has them; nobody is shown it again.

    Raises:
        InvalidInput: If nothing can be sent there, or it has no name.
        Conflict: If there is a channel of this name.
    """
    name = _check_name(name)
    check_address(url)
    channel_id = f"channel-{secrets.token_hex(6)}"
    sealed = seal(change.connection, url)
    row = {"channel_id": channel_id, "name": name, "url": sealed, "created_at": change.now}
    try:
        with change.connection.begin_nested():
            change.connection.execute(insert(ALERT_CHANNELS).values(row))
    except IntegrityError as error:
        raise Conflict(f"there is a channel {name!r} already") from error
    change.note("alert.channel.create", name, channel_id=channel_id, kind=kind_of(url))
    return find_channel(change.connection, channel_id)


def change_channel(change: AuditedChange, name: str, *, to_name: str, url: str | None) -> Channel:
    """
    Give a channel another name or address.

    Raises:
        InvalidInput: If nothing can be sent there, or it has no name.
        NotFound: If there is no such channel.
        Conflict: If another channel has the new name.
    """
    channel = find_channel(change.connection, name)
    values = {"name": _check_name(to_name)}
    if url is not None:
        check_address(url)
        values["url"] = seal(change.connection, url)
    mine = ALERT_CHANNELS.c.channel_id == channel.channel_id
    try:
        with change.connection.begin_nested():
            change.connection.execute(update(ALERT_CHANNELS).where(mine).values(values))
    except IntegrityError as error:
        raise Conflict(f"there is a channel {to_name!r} already") from error
    changed = sorted(values)
    change.note("alert.channel.change", to_name, channel_id=channel.channel_id, changed=changed)
    return find_channel(change.connection, channel.channel_id)


def delete_channel(change: AuditedChange, name: str) -> None:
    """
    Tell nobody there any more; what still waits for it is not sent.

    Raises:
        NotFound: If there is no such channel.
        Conflict: If a rule names it.
    """
    channel = find_channel(change.connection, name)
    for rule in list_rules(change.connection):
        if channel.channel_id in rule.channels:
            raise Conflict(f"the rule {rule.name!r} names this channel: change the rule first")
    mine = ALERT_CHANNELS.c.channel_id == channel.channel_id
    change.connection.execute(delete(ALERT_CHANNELS).where(mine))
    change.note("alert.channel.delete", channel.name, channel_id=channel.channel_id)


def list_channels(connection: Connection) -> list[Channel]:
    """List channels by name, without their addresses."""
    rows = connection.execute(select(ALERT_CHANNELS).order_by(ALERT_CHANNELS.c.name))
    return [
        Channel(row.channel_id, row.name, _kind_of_stored(connection, row.url), row.created_at)
        for row in rows
    ]


def _kind_of_stored(connection: Connection, stored: str) -> str:
    try:
        return kind_of(unseal(connection, stored))
    except Conflict:  # the key is lost: the channel can still be seen, changed and deleted
        return UNREADABLE


def find_channel(connection: Connection, name: str) -> Channel:
    """
    Find a channel by its id or its name.

    Raises:
        NotFound: If there is none.
    """
    for channel in list_channels(connection):
        if name in (channel.channel_id, channel.name):
            return channel
    raise NotFound(f"there is no alert channel {name!r}")


def read_address(connection: Connection, channel_id: str) -> str:
    """
    Read a channel's address: a secret.

    Raises:
        NotFound: If the channel is gone.
        Conflict: If it was sealed with a key that is lost.
    """
    mine = select(ALERT_CHANNELS.c.url).where(ALERT_CHANNELS.c.channel_id == channel_id)
    url = connection.execute(mine).scalar()
    if url is None:
        raise NotFound(f"there is no alert channel {channel_id!r}")
    return unseal(connection, str(url))


def seal_addresses(connection: Connection) -> int:
    """Seal addresses that were stored as they are, by a version that did so; say how many."""
    rows = connection.execute(select(ALERT_CHANNELS.c.channel_id, ALERT_CHANNELS.c.url)).all()
    plain = [row for row in rows if not is_sealed(row.url)]
    for row in plain:
        mine = update(ALERT_CHANNELS).where(ALERT_CHANNELS.c.channel_id == row.channel_id)
        connection.execute(mine.values(url=seal(connection, row.url)))
    return len(plain)


def _check_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 128 or "/" in name:
        raise InvalidInput(
            "a channel has a name of 1 to 128 characters, no slash", parameter="name"
        )
    return name
