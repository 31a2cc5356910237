"""Whose turn it is to look: one row, which one server holds for a while."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, or_, select, update

from milvane.storage.alert_tables import ALERT_TURN
from milvane.storage.upserting import upsert_of


def take_turn(connection: Connection, name: str, now: datetime, *, lasts_s: float) -> bool:
    """
    Take the turn, or keep it for longer.

    Args:
        connection: In a transaction; another one that takes the turn waits until it ends.

        name: Who takes it.

        now: The time of day, which servers are to agree on to within a few seconds.

        lasts_s: How long it is kept without being taken again.

    Returns:
        Whether it is this one's turn; another one's has to end first.
    """
    until = now + timedelta(seconds=lasts_s)
    mine = (ALERT_TURN.c.id == 1, or_(ALERT_TURN.c.holder == name, ALERT_TURN.c.until <= now))
    taken = update(ALERT_TURN).where(*mine).values(holder=name, until=until)
    if connection.execute(taken).rowcount:
        return True
    missing = upsert_of(connection)(ALERT_TURN).values(id=1, holder=name, until=until)
    connection.execute(missing.on_conflict_do_nothing())
    holder = connection.execute(select(ALERT_TURN.c.holder).where(ALERT_TURN.c.id == 1)).scalar()
    return holder == name


def release_turn(connection: Connection, name: str, now: datetime) -> None:
    """Let another one have the turn at once, if it is this one's."""
    mine = (ALERT_TURN.c.id == 1, ALERT_TURN.c.holder == name)
    connection.execute(update(ALERT_TURN).where(*mine).values(until=now))
