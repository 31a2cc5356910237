"""What SQL knows of objects: every function is a part of a transaction, and blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select

from milvane.domain.errors import QuotaExceeded
from milvane.media.objects import ContentFacts, MediaObject, Place
from milvane.media.settings import MediaSettings
from milvane.storage.media_tables import MEDIA_OBJECTS
from milvane.storage.turns import take_turn

_TABLE = MEDIA_OBJECTS


@dataclass(frozen=True, slots=True)
class Listing:
    """Which objects of a bucket to list, by their names."""

    tenant: str
    bucket: str
    limit: int
    prefix: str = ""
    after: str = ""
    """Names up to this one are passed over."""


def take_media_turn(connection: Connection) -> None:
    """Wait for everybody else who adds content to the folder or takes some away."""
    take_turn(connection, "media")


def read_object(connection: Connection, place: Place) -> MediaObject | None:
    """Read what is at a place."""
    row = connection.execute(select(_TABLE).where(_at(place))).one_or_none()
    return None if row is None else _object_of(row)


def write_object(connection: Connection, found: MediaObject) -> None:
    """Put an object to its place, instead of what is there."""
    connection.execute(delete(_TABLE).where(_at(found.place)))
    connection.execute(
        insert(_TABLE).values(
            tenant=found.place.tenant,
            bucket=found.place.bucket,
            key=found.place.key,
            size_bytes=found.content.size_bytes,
            sha256=found.content.sha256,
            md5=found.content.md5,
            crc64=str(found.content.crc64),
            content_type=found.content_type,
            headers=dict(found.headers),
            modified_at=found.modified_at,
        )
    )


def remove_object(connection: Connection, place: Place) -> str | None:
    """Forget what is at a place; gives the digest of its content."""
    found = read_object(connection, place)
    connection.execute(delete(_TABLE).where(_at(place)))
    return None if found is None else found.content.sha256


def is_kept(connection: Connection, sha256: str) -> bool:
    """Say whether any object has this content."""
    query = select(_TABLE.c.sha256).where(_TABLE.c.sha256 == sha256).limit(1)
    return connection.execute(query).one_or_none() is not None


def read_digests(connection: Connection) -> set[str]:
    """Read the digests of all contents."""
    return set(connection.execute(select(_TABLE.c.sha256).distinct()).scalars())


def check_room(settings: MediaSettings, found: MediaObject, connection: Connection) -> None:
    """
    Refuse an object for which there is no room; what it replaces makes room.

    Raises:
        QuotaExceeded: If there are too many objects or bytes, of all tenants or of its own.
    """
    others = select(func.count(), func.coalesce(func.sum(_TABLE.c.size_bytes), 0)).where(
        ~_at(found.place)
    )
    size_bytes = found.content.size_bytes
    count, total_bytes = connection.execute(others).one()
    if count >= settings.max_objects or total_bytes + size_bytes > settings.max_total_bytes:
        raise QuotaExceeded(
            f"the store is full: {count} other objects, {total_bytes} bytes. Delete some, or have "
            "the operator raise media.max_objects or media.max_total_bytes",
            retry_after_s=60,
        )
    if settings.max_tenant_bytes is None:
        return
    own = others.where(_TABLE.c.tenant == found.place.tenant)
    _, own_bytes = connection.execute(own).one()
    if own_bytes + size_bytes > settings.max_tenant_bytes:
        raise QuotaExceeded(
            f"your other objects have {own_bytes} bytes, and you may have "
            f"{settings.max_tenant_bytes}: delete some, or have the operator raise "
            "media.max_tenant_bytes",
            retry_after_s=60,
        )


def list_objects(connection: Connection, listing: Listing) -> list[MediaObject]:
    """Read a tenant's objects of a bucket in the order of their names' bytes."""
    # SQLite compares bytes by itself; elsewhere the order depends on the database's locale.
    key: ColumnElement[Any] = _TABLE.c.key
    if connection.dialect.name != "sqlite":
        key = key.collate("C")
    conditions = [
        _TABLE.c.tenant == listing.tenant,
        _TABLE.c.bucket == listing.bucket,
        key > listing.after,
        func.substr(_TABLE.c.key, 1, len(listing.prefix)) == listing.prefix,
    ]
    query = select(_TABLE).where(*conditions).order_by(key).limit(listing.limit)
    return [_object_of(row) for row in connection.execute(query)]


def _at(place: Place) -> ColumnElement[bool]:
    return and_(
        _TABLE.c.tenant == place.tenant,
        _TABLE.c.bucket == place.bucket,
        _TABLE.c.key == place.key,
    )


def _object_of(row: Row[Any]) -> MediaObject:
    return MediaObject(
        Place(row.tenant, row.bucket, row.key),
        ContentFacts(row.size_bytes, row.sha256, row.md5, int(row.crc64)),
        row.content_type,
        row.modified_at,
        row.headers,
    )
