"""
Secrets that SQL keeps: sealed with a key that lies in a file, never in the database.

A dump of the database tells nobody an address of a channel or a token of a Milvus. Servers that
share a database share the file of the key too.
"""

from __future__ import annotations

import base64
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from milvane.domain.errors import Conflict
from milvane.storage.secret_files import open_secret

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

KEY_FILE = "secrets.key"
OPTION = "milvane_sealer"
"""Execution option under which a connection carries the sealer of its database."""
_MARK = "sealed:"


class Sealer:
    """Seals and opens with the key of a file, which is made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seal(self, secret: str) -> str:
        """Make of a secret what may lie in the database: no two of the same are alike."""
        return _MARK + self._cipher.encrypt(secret.encode()).decode()

    def unseal(self, stored: str) -> str:
        """
        Open what was sealed; what was stored before there were seals is given as it is.

        Raises:
            Conflict: If it was sealed with another key.
        """
        if not is_sealed(stored):
            return stored
        from cryptography.fernet import InvalidToken

        try:
            return self._cipher.decrypt(stored.removeprefix(_MARK).encode()).decode()
        except InvalidToken as error:
            raise Conflict(
                f"a secret in the database was sealed with another key than that in {self._path}: "
                "restore that file (servers on one database share it), or enter the secret anew"
            ) from error

    @cached_property
    def _cipher(self) -> Fernet:
        from cryptography.fernet import Fernet

        loss = "restore it from a backup, or remove it and enter all secrets anew"
        return Fernet(base64.urlsafe_b64encode(open_secret(self._path, loss=loss)))


def is_sealed(stored: str) -> bool:
    """Say whether a stored text is sealed."""
    return stored.startswith(_MARK)


def seal(connection: Connection, secret: str) -> str:
    """Seal a secret with the key of the database that a connection is of."""
    return _sealer_of(connection).seal(secret)


def unseal(connection: Connection, stored: str) -> str:
    """
    Open what was sealed with the key of the database that a connection is of.

    Raises:
        Conflict: If it was sealed with another key.
    """
    return _sealer_of(connection).unseal(stored)


def _sealer_of(connection: Connection) -> Sealer:
    sealer = connection.get_execution_options()[OPTION]
    if not isinstance(sealer, Sealer):
        raise TypeError("the connection was not made by `Database`")
    return sealer
