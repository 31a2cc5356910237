"""API keys: made, shown once, kept as hashes, rotated with an overlap, revoked."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import Connection, insert, select, update

from milvane.control_plane.commands import Change
from milvane.domain.control import ApiKey, Scope
from milvane.domain.errors import Conflict, InvalidInput, NotFound
from milvane.storage.control_tables import API_KEYS

_BEGIN = "mv-"
_SHOWN = 10
"""Characters of a secret that are kept to recognise it by, of 46 in all."""


def digest_of(secret: str) -> str:
    """Hash a secret; it has 256 random bits, so no slow hash is needed."""
    return sha256(secret.encode()).hexdigest()


def create_key(
    change: Change,
    *,
    label: str,
    tenant: str,
    scopes: frozenset[Scope],
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """
    Make a key.

    Returns:
        The key, and its secret, which is nowhere else from now on.

    Raises:
        InvalidInput: If it would open nothing, or has no label or tenant.
    """
    if not label.strip() or not tenant.strip():
        raise InvalidInput("a key needs a label and a tenant", parameter="label")
    if not scopes:
        raise InvalidInput("a key without a scope opens nothing", parameter="scopes")
    if expires_at is not None and expires_at <= change.now:
        raise InvalidInput("a key cannot expire before it is made", parameter="expires_at")
    secret = _BEGIN + secrets.token_urlsafe(32)
    key = ApiKey(
        key_id=f"key-{secrets.token_hex(6)}",
        label=label.strip(),
        prefix=secret[:_SHOWN],
        tenant=tenant.strip(),
        scopes=scopes,
        created_at=change.now,
        expires_at=expires_at,
    )
    change.connection.execute(
        insert(API_KEYS).values(
            key_id=key.key_id,
            sha256=digest_of(secret),
            label=key.label,
            prefix=key.prefix,
            tenant=key.tenant,
            scopes=sorted(scope.value for scope in scopes),
            created_at=key.created_at,
            expires_at=expires_at,
        )
    )
    named = sorted(scope.value for scope in scopes)
    change.note("key.create", key.key_id, label=key.label, tenant=key.tenant, scopes=named)
    return key, secret


def rotate_key(change: Change, key_id: str, *, overlap_s: float) -> tuple[ApiKey, str]:
    """
    Make a key in the place of another, which stays good for a while.

    Returns:
        The new key, and its secret.

    Raises:
        NotFound: If there is no such key.
        Conflict: If it is not good any more, or has been rotated already.
    """
    old = find_key(change.connection, key_id)
    if old.expires_at is not None and old.expires_at <= change.now:
        raise Conflict(f"the key {key_id} is not good any more: create another one")
    if old.rotated_to is not None:
        raise Conflict(f"the key {key_id} has been rotated to {old.rotated_to} already")
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    new, secret = create_key(
        change,
        label=old.label,
        tenant=old.tenant,
        scopes=old.scopes,
        expires_at=None if lifetime is None else change.now + lifetime,
    )
    ends_at = change.now + timedelta(seconds=overlap_s)
    if old.expires_at is not None:
        ends_at = min(ends_at, old.expires_at)
    _update(change, key_id, expires_at=ends_at, rotated_to=new.key_id)
    change.note("key.rotate", key_id, to=new.key_id, good_until=ends_at.isoformat())
    return new, secret


def revoke_key(change: Change, key_id: str) -> None:
    """
    Have a key open nothing from now on.

    Raises:
        NotFound: If there is no such key.
    """
    key = find_key(change.connection, key_id)
    if key.expires_at is None or key.expires_at > change.now:
        _update(change, key_id, expires_at=change.now)
        change.note("key.revoke", key_id)


def find_key(connection: Connection, key_id: str) -> ApiKey:
    """
    Find a key by its id.

    Raises:
        NotFound: If there is none.
    """
    for key in read_keys(connection).values():
        if key.key_id == key_id:
            return key
    raise NotFound(f"there is no key {key_id!r}")


def read_keys(connection: Connection) -> Mapping[str, ApiKey]:
    """Read all keys by the digests of their secrets, oldest first."""
    rows = connection.execute(select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.key_id))
    return {
        row.sha256: ApiKey(
            key_id=row.key_id,
            label=row.label,
            prefix=row.prefix,
            tenant=row.tenant,
            scopes=frozenset(Scope(scope) for scope in row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            rotated_to=row.rotated_to,
        )
        for row in rows
    }


def note_uses(connection: Connection, used_at: Mapping[str, datetime]) -> None:
    """Enter when keys were used last, by their ids."""
    for key_id, at in sorted(used_at.items()):
        mine = API_KEYS.c.key_id == key_id
        later = (API_KEYS.c.last_used_at.is_(None)) | (API_KEYS.c.last_used_at < at)
        connection.execute(update(API_KEYS).where(mine, later).values(last_used_at=at))


def _update(change: Change, key_id: str, **values: object) -> None:
    change.connection.execute(update(API_KEYS).where(API_KEYS.c.key_id == key_id).values(**values))
