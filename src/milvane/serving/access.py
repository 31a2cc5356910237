"""Who may use the server: users with passwords, and API keys."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256

from pydantic import Field, SecretStr

from milvane.domain.errors import Unauthenticated
from milvane.sections import Section


class AccessSettings(Section):
    """Who may use the server; with neither users nor keys, everyone who reaches it may."""

    users: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="Passwords by user name, as in `root:Milvus`."
    )
    api_keys: Sequence[SecretStr] = Field(
        default=(), description="Keys that are accepted without a user name."
    )

    @property
    def is_open(self) -> bool:
        """Say whether nobody is asked who they are."""
        return not self.users and not self.api_keys


class Authenticator:
    """Checks credentials against the settings, in a time that does not depend on them."""

    def __init__(self, settings: AccessSettings) -> None:
        self.is_open = settings.is_open
        """Whether everyone is let in."""
        self._tokens = [
            _digest(f"{user}:{password.get_secret_value()}")
            for user, password in settings.users.items()
        ]
        self._keys = [_digest(key.get_secret_value()) for key in settings.api_keys]

    def check_token(self, token: str) -> None:
        """
        Let in who shows ``user:password`` or an API key.

        Args:
            token: What the client sent, decoded.

        Raises:
            Unauthenticated: If it is neither; the message says which was tried, not what is wrong
                with it.
        """
        if self.is_open:
            return
        if not token:
            raise Unauthenticated("missing authorization in header")
        is_user = ":" in token
        if not _is_among(token, self._tokens + self._keys):
            what = "username and password are" if is_user else "api key is"
            raise Unauthenticated(f"auth check failure, please check {what} correct")


def _digest(text: str) -> bytes:
    # Equal lengths let `compare_digest` hide where two secrets differ, and how long they are.
    return sha256(text.encode()).digest()


def _is_among(token: str, digests: list[bytes]) -> bool:
    mine = _digest(token)
    # No early end: the time says nothing about which one matched.
    return sum(hmac.compare_digest(mine, digest) for digest in digests) > 0


EVERYONE = Authenticator(AccessSettings())
"""Lets everyone in."""
