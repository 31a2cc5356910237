"""Who may sign in to the console: passwords, and the sessions that a browser holds."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import scrypt

from sqlalchemy import Connection, delete, insert, select, update

from milvane.control_plane.commands import Change
from milvane.control_plane.keys import digest_of
from milvane.control_plane.plane import SYSTEM, ControlPlane
from milvane.domain.errors import InvalidInput, Unauthenticated
from milvane.storage.control_tables import OPERATORS, SESSIONS

ADMIN = "admin"
MIN_PASSWORD = 10

# 16 MiB and a quarter of a second for each guess: RFC 7914, with the least cost that OWASP advises.
_COST, _BLOCK, _PARALLEL = 2**14, 8, 5
_MAX_MEMORY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An operator's session."""

    operator: str
    csrf_token: str
    """What each changing request of the session has to bring along."""
    expires_at: datetime


def check_password(password: str) -> None:
    """
    Let a password be used.

    Raises:
        InvalidInput: If it is short.
    """
    if len(password) < MIN_PASSWORD:
        raise InvalidInput(
            f"a password has at least {MIN_PASSWORD} characters", parameter="password"
        )


def hash_password(password: str) -> str:
    """Hash a password with a salt of its own, slowly."""
    salt = secrets.token_bytes(16)
    return f"scrypt${b64encode(salt).decode()}${b64encode(_scrypt(password, salt)).decode()}"


def is_password(password: str, hashed: str) -> bool:
    """Say whether a hash is that of a password."""
    _, salt, expected = hashed.split("$")
    return hmac.compare_digest(_scrypt(password, b64decode(salt)), b64decode(expected))


_NOBODY = f"scrypt${b64encode(bytes(16)).decode()}${b64encode(bytes(32)).decode()}"
"""No password's hash; compared with where there is no such operator, for an equal time."""


class Operators:
    """Makes operators and signs them in; hashing, which is slow, holds up no transaction."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def create_first(self) -> str | None:
        """
        Make the operator `ADMIN`, if there is no operator yet.

        Returns:
            The password, which is nowhere else from now on; nothing if there was one.
        """
        if await self._plane.read(_has_operators):
            return None
        password = secrets.token_urlsafe(12)
        hashed = await asyncio.to_thread(hash_password, password)

        def make(change: Change) -> bool:
            if _has_operators(change.connection):
                return False
            store_password(change, ADMIN, hashed)
            return True

        return password if await self._plane.change(SYSTEM, make) else None

    async def set_password(self, operator: str, password: str, *, actor: str) -> None:
        """
        Set a password, make the operator if there is none, and end all their sessions.

        Raises:
            InvalidInput: If the password is short.
        """
        check_password(password)
        hashed = await asyncio.to_thread(hash_password, password)
        await self._plane.change(actor, partial(store_password, operator=operator, hashed=hashed))

    async def sign_in(
        self, operator: str, password: str, *, lasts_s: float
    ) -> tuple[SignedIn, str]:
        """
        Begin a session.

        Returns:
            The session, and the token for the browser, which is nowhere else.

        Raises:
            Unauthenticated: If there is no such operator with this password.
        """
        hashed = await self._plane.read(partial(_read_hash, operator=operator))
        is_right = await asyncio.to_thread(is_password, password, hashed or _NOBODY)
        if hashed is None or not is_right:
            raise Unauthenticated("the name or the password is wrong")
        return await self._plane.change(
            operator, partial(_begin_session, operator=operator, hashed=hashed, lasts_s=lasts_s)
        )


def _has_operators(connection: Connection) -> bool:
    return connection.execute(select(OPERATORS.c.name)).first() is not None


def _read_hash(connection: Connection, operator: str) -> str | None:
    mine = select(OPERATORS.c.password_hash).where(OPERATORS.c.name == operator)
    return connection.execute(mine).scalar()


def store_password(change: Change, operator: str, hashed: str) -> None:
    """Set the hash of an operator's password, and end all their sessions."""
    mine = OPERATORS.c.name == operator
    changed = update(OPERATORS).where(mine).values(password_hash=hashed, changed_at=change.now)
    if not change.connection.execute(changed).rowcount:
        change.connection.execute(
            insert(OPERATORS).values(
                name=operator, password_hash=hashed, created_at=change.now, changed_at=change.now
            )
        )
    change.connection.execute(delete(SESSIONS).where(SESSIONS.c.operator == operator))
    change.note("operator.password", operator)


def _begin_session(
    change: Change, operator: str, hashed: str, *, lasts_s: float
) -> tuple[SignedIn, str]:
    if _read_hash(change.connection, operator) != hashed:  # another password since it was checked
        raise Unauthenticated("the name or the password is wrong")
    change.connection.execute(delete(SESSIONS).where(SESSIONS.c.expires_at <= change.now))
    token, csrf_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    session = SignedIn(operator, csrf_token, change.now + timedelta(seconds=lasts_s))
    change.connection.execute(
        insert(SESSIONS).values(
            sha256=digest_of(token),
            operator=operator,
            csrf_token=csrf_token,
            created_at=change.now,
            expires_at=session.expires_at,
        )
    )
    change.note("operator.sign-in", operator)
    return session, token


def find_session(connection: Connection, token: str, now: datetime) -> SignedIn | None:
    """Find the session of a token, if it has not ended."""
    mine = select(SESSIONS).where(
        SESSIONS.c.sha256 == digest_of(token), SESSIONS.c.expires_at > now
    )
    row = connection.execute(mine).first()
    return None if row is None else SignedIn(row.operator, row.csrf_token, row.expires_at)


def sign_out(connection: Connection, token: str) -> None:
    """End a session."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.sha256 == digest_of(token)))


def _scrypt(password: str, salt: bytes) -> bytes:
    return scrypt(
        password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=_MAX_MEMORY, dklen=32
    )
