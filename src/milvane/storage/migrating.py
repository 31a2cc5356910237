"""Brings the schema of a database up to the one in `tables`."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from milvane.domain.errors import Conflict

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
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise Conflict(
            f"the database has been used by a newer version of Milvane: {error}. "
            "Start that version, or restore the backup made before the upgrade"
        ) from error


def alembic_config(connection: Connection) -> Config:
    """Make a configuration that uses an open connection and this package's migrations."""
    config = Config()
    config.set_main_option("script_location", "milvane.storage:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
