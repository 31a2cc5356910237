"""Brings the schema of a database up to the one in `tables`."""

from __future__ import annotations

from pkgutil import iter_modules
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from milvane.domain.errors import Conflict
from milvane.storage.migrations import versions

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK = 6_517_120_001
"""Any number, the same in every process that migrates."""


def migrate(connection: Connection) -> None:
    """
    Apply the migrations that are missing, all or none.

    Args:
        connection: In a transaction that no other process can write beside (SQLite), or that is
            held against other migrations here (PostgreSQL).

    Raises:
        Conflict: If the schema is newer than this program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if _current_revision(connection) == newest_revision():
        return
    # The library takes 0.15 s to load, and there is seldom something to do for it.
    from alembic import command
    from alembic.util.exc import CommandError

    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise Conflict(
            f"the database has been used by a newer version of Milvane: {error}. "
            "Start that version, or restore the backup made before the upgrade"
        ) from error


def newest_revision() -> str:
    """Say what the last migration of this program is called: modules are named in their order."""
    return max(each.name for each in iter_modules(versions.__path__))[1:5]


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return found[0] if len(found) == 1 else None


def alembic_config(connection: Connection) -> Config:
    """Make a configuration that uses an open connection and this package's migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "milvane.storage:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
