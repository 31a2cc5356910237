"""Inserts that know what to do when a row is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Table


def upsert_of(connection: Connection) -> Callable[[Table], Any]:
    """Choose the insert of a connection's database, which has `on_conflict_do_update`."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert  # with its drivers

        return postgresql_insert
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert
