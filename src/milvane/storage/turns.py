"""One transaction after another, where what is written depends on a count of what is there."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

_SPACE = 6_517_120
"""Any number, the same in every process: whose locks these are among those of the database."""


def take_turn(connection: Connection, name: str) -> None:
    """
    Have transactions that take a turn of the same name wait for each other until they end.

    Writers of SQLite do so whatever they write.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_SPACE, func.hashtext(name))))
