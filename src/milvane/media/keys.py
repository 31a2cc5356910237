"""
Access keys of the store: made, listed, revoked.

A signature can only be checked by somebody who has the secret, so a hash of it would not do. SQL
has no secret either: each is derived from the key's id and one secret beside the objects.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from milvane.domain.errors import InvalidInput, NotFound
from milvane.storage.media_tables import MEDIA_KEYS
from milvane.storage.secret_files import open_secret

SECRET_FILE = "secret.key"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key, without its secret."""

    access_key_id: str
    tenant: str
    label: str
    created_at: datetime
    expires_at: datetime | None = None


class Keyring:
    """Derives the secrets of access keys."""

    def __init__(self, root: bytes) -> None:
        self._root = root

    @classmethod
    def open(cls, folder: Path) -> Keyring:
        """
        Read the secret in the folder of media, or make it. Blocks.

        Raises:
            Conflict: If the file is not one of ours.
        """
        loss = "restore it from a backup, or remove it, after which all access keys are made anew"
        return cls(open_secret(folder / SECRET_FILE, loss=loss))

    def secret_of(self, access_key_id: str) -> str:
        """Derive the secret of an access key: 40 characters, of 240 bits."""
        told = f"milvane media access key {access_key_id}".encode()
        digest = hmac.new(self._root, told, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:30]).decode()


def create_key(
    connection: Connection,
    *,
    label: str,
    tenant: str,
    now: datetime,
    expires_at: datetime | None = None,
) -> AccessKey:
    """
    Make an access key, as a part of a transaction.

    Raises:
        InvalidInput: If it has no label or tenant, or one that is too long.
    """
    label, tenant = label.strip(), tenant.strip()
    if not 1 <= len(label) <= 128 or not 1 <= len(tenant) <= 255:
        raise InvalidInput("an access key needs a label and a tenant", parameter="label")
    key = AccessKey(f"MVM{secrets.token_hex(10).upper()}", tenant, label, now, expires_at)
    connection.execute(
        insert(MEDIA_KEYS).values(
            access_key_id=key.access_key_id,
            tenant=tenant,
            label=label,
            created_at=now,
            expires_at=expires_at,
        )
    )
    return key


def list_keys(connection: Connection) -> list[AccessKey]:
    """Read all access keys, oldest first, as a part of a transaction."""
    rows = connection.execute(
        select(MEDIA_KEYS).order_by(MEDIA_KEYS.c.created_at, MEDIA_KEYS.c.access_key_id)
    )
    return [AccessKey(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def find_key(connection: Connection, access_key_id: str, now: datetime) -> AccessKey | None:
    """Find an access key that is good now, as a part of a transaction."""
    row = connection.execute(
        select(MEDIA_KEYS).where(MEDIA_KEYS.c.access_key_id == access_key_id, _is_good(now))
    ).one_or_none()
    return None if row is None else AccessKey(**row._mapping)  # noqa: SLF001 - a public name


def key_of_tenant(connection: Connection, tenant: str, now: datetime) -> AccessKey:
    """Find a key that a tenant can sign with, or make one, as a part of a transaction."""
    row = connection.execute(
        select(MEDIA_KEYS)
        .where(MEDIA_KEYS.c.tenant == tenant, MEDIA_KEYS.c.expires_at.is_(None))
        .order_by(MEDIA_KEYS.c.created_at, MEDIA_KEYS.c.access_key_id)
        .limit(1)
    ).one_or_none()
    if row is not None:
        return AccessKey(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    return create_key(connection, label="milvane media put", tenant=tenant, now=now)


def revoke_key(connection: Connection, access_key_id: str, now: datetime) -> None:
    """
    Have an access key sign nothing from now on, also what it has signed, in a transaction.

    Raises:
        NotFound: If there is no such key that is good.
    """
    changed = connection.execute(
        update(MEDIA_KEYS)
        .where(MEDIA_KEYS.c.access_key_id == access_key_id, _is_good(now))
        .values(expires_at=now)
    )
    if not changed.rowcount:
        raise NotFound(f"there is no access key {access_key_id!r} that is still good")


def _is_good(now: datetime) -> ColumnElement[bool]:
    return or_(MEDIA_KEYS.c.expires_at.is_(None), MEDIA_KEYS.c.expires_at > now)
