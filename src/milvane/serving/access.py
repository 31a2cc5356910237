"""Who may use the server: users with passwords, and API keys."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Protocol

from pydantic import Field, SecretStr

from milvane.domain.callers import ANYONE, Caller
from milvane.domain.control import Scope
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

    required: bool = Field(
        default=False,
        description="Ask for a key also where none is named here: those that `milvane keys create` "
        "makes are let in.",
    )

    @property
    def is_open(self) -> bool:
        """Say whether nobody is asked who they are."""
        return not self.required and not self.users and not self.api_keys


class KeyRing(Protocol):
    """Knows keys that come and go while the server runs."""

    def find_caller(self, secret: str, scope: Scope) -> Caller | None:
        """Say whose key a secret is, if it is good for something now."""


class Authenticator:
    """Checks credentials against the settings, in a time that does not depend on them."""

    def __init__(self, settings: AccessSettings, keys: KeyRing | None = None) -> None:
        self._keys = keys
        self.is_open = settings.is_open
        """Whether everyone is let in."""
        self._known = [
            (_digest(f"{user}:{password.get_secret_value()}"), Caller(name=user, tenant=user))
            for user, password in settings.users.items()
        ]
        for key in settings.api_keys:
            digest = _digest(key.get_secret_value())
            name = f"key-{digest.hex()[:8]}"
            self._known.append((digest, Caller(name=name, tenant=name)))

    def check_token(self, token: str, scope: Scope = Scope.EMBED) -> Caller:
        """
        Let in who shows ``user:password`` or an API key.

        Args:
            token: What the client sent, decoded.

            scope: What a key has to be good for; users, and keys of the settings, may do all.

        Returns:
            Who that is. Each user, and each key of the settings, is a tenant.

        Raises:
            Unauthenticated: If it is neither; the message says which was tried, not what is wrong
                with it.
        """
        caller = self._find(_digest(token)) if token else None
        if caller is None and token and self._keys is not None:
            caller = self._keys.find_caller(token, scope)
        if caller is None and self.is_open:
            return ANYONE  # also who shows what is no key here: clients come with a default one
        if not token:
            raise Unauthenticated("missing authorization in header")
        if caller is None:
            what = "username and password are" if ":" in token else "api key is"
            raise Unauthenticated(f"auth check failure, please check {what} correct")
        return caller

    def _find(self, mine: bytes) -> Caller | None:
        # No early end: the time says nothing about which one matched.
        matches = [caller for digest, caller in self._known if hmac.compare_digest(mine, digest)]
        return matches[0] if matches else None


def _digest(text: str) -> bytes:
    # Equal lengths let `compare_digest` hide where two secrets differ, and how long they are.
    return sha256(text.encode()).digest()


EVERYONE = Authenticator(AccessSettings())
"""Lets everyone in."""
