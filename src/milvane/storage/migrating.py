"""Brings the schema of a database up to the one in `tables`."""

from __future__ import annotations

from collections.abc import Collection
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
)

from milvane.domain.errors import Conflict
from milvane.storage.migrations import versions
from milvane.storage.schema import METADATA

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK = 6_517_120_001
"""Any number, the same in every process that migrates."""

VERSIONS = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Where the library keeps which migration was the last, as it declares it."""


def migrate(connection: Connection) -> None:
    """
    Apply the migrations that are missing, all or none; an empty database gets what they lead to.

    Args:
        connection: In a transaction that no other process can write beside (SQLite), or that is
            held against other migrations here (PostgreSQL).

    Raises:
        Conflict: If the schema is newer than this program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    tables = set(inspect(connection).get_table_names())
    if VERSIONS.name not in tables and not tables & set(METADATA.tables):
        _make(connection)
        return
    if _current_revision(connection, tables) == newest_revision():
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


def _make(connection: Connection) -> None:
    METADATA.create_all(connection, checkfirst=False)
    VERSIONS.create(connection)
    connection.execute(insert(VERSIONS).values(version_num=newest_revision()))


def _current_revision(connection: Connection, tables: Collection[str]) -> str | None:
    if VERSIONS.name not in tables:
        return None
    found = connection.execute(select(VERSIONS.c.version_num)).scalars().all()
    return found[0] if len(found) == 1 else None


def alembic_config(connection: Connection) -> Config:
    """Make a configuration that uses an open connection and this package's migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "milvane.storage:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
