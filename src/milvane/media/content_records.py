"""
What SQL knows of contents in a bucket: every function is a part of a transaction, and blocks.

A name is used for one upload and never again. So what no object has can be removed at any time,
however late the bucket does it: nobody can have put something else under that name meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from sqlalchemy import Connection, delete, insert, select, update

from milvane.storage.media_tables import MEDIA_CONTENTS, MEDIA_OBJECTS

_TABLE = MEDIA_CONTENTS


class ContentState(str, Enum):
    """What becomes of a content."""

    ARRIVING = "arriving"
    """Somebody is putting it into the bucket, or has been when it ended."""
    KEPT = "kept"
    """An object has it; at most one content of each digest."""
    LEAVING = "leaving"
    """Nobody will have it again."""


def announce(connection: Connection, name: str, sha256: str, now: datetime) -> None:
    """Say that a content is going to be in the bucket."""
    arriving = ContentState.ARRIVING.value
    connection.execute(insert(_TABLE).values(name=name, sha256=sha256, state=arriving, since=now))


def find_kept(connection: Connection, sha256: str) -> str | None:
    """Find the name of the content that has a digest."""
    name: str | None = connection.execute(
        select(_TABLE.c.name).where(
            _TABLE.c.sha256 == sha256, _TABLE.c.state == ContentState.KEPT.value
        )
    ).scalar_one_or_none()
    return name


def settle(connection: Connection, name: str, state: ContentState) -> bool:
    """Say what becomes of a content that was arriving; false if it has been given up."""
    changed = connection.execute(
        update(_TABLE)
        .where(_TABLE.c.name == name, _TABLE.c.state == ContentState.ARRIVING.value)
        .values(state=state.value)
    )
    return bool(changed.rowcount)


def let_go(connection: Connection, sha256: str | None = None) -> None:
    """Have kept contents leave that no object has: those of a digest, or all."""
    had = select(MEDIA_OBJECTS.c.sha256).where(MEDIA_OBJECTS.c.sha256 == _TABLE.c.sha256).exists()
    change = update(_TABLE).where(_TABLE.c.state == ContentState.KEPT.value, ~had)
    if sha256 is not None:
        change = change.where(_TABLE.c.sha256 == sha256)
    connection.execute(change.values(state=ContentState.LEAVING.value))


def give_up(connection: Connection, before: datetime) -> None:
    """Have contents leave that have been arriving since long ago: who put them has ended."""
    connection.execute(
        update(_TABLE)
        .where(_TABLE.c.state == ContentState.ARRIVING.value, _TABLE.c.since < before)
        .values(state=ContentState.LEAVING.value)
    )


def list_leaving(connection: Connection, limit: int, sha256: str | None = None) -> Sequence[str]:
    """Read the names of contents to remove, those of a digest or any, oldest first."""
    query = select(_TABLE.c.name).where(_TABLE.c.state == ContentState.LEAVING.value)
    if sha256 is not None:
        query = query.where(_TABLE.c.sha256 == sha256)
    return connection.execute(query.order_by(_TABLE.c.since).limit(limit)).scalars().all()


def forget(connection: Connection, names: Sequence[str]) -> None:
    """Forget contents that are not in the bucket any more."""
    connection.execute(delete(_TABLE).where(_TABLE.c.name.in_(names)))


def has_any(connection: Connection) -> bool:
    """Say whether any object's content is in a bucket."""
    query = select(_TABLE.c.name).where(_TABLE.c.state == ContentState.KEPT.value).limit(1)
    return connection.execute(query).one_or_none() is not None
