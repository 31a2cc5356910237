"""Who is let in."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from milvane.domain.callers import ANYONE, Caller
from milvane.domain.control import Scope
from milvane.domain.errors import Unauthenticated
from milvane.serving.access import AccessSettings, Authenticator

CLOSED = Authenticator(
    AccessSettings(
        users={"root": SecretStr("Milvus"), "ann": SecretStr("päss:word")},
        api_keys=[SecretStr("key-1"), SecretStr("with:colon")],
    )
)


def test_without_users_and_keys_everyone_is_let_in() -> None:
    """The default, for this machine only."""
    authenticator = Authenticator(AccessSettings())
    assert authenticator.is_open
    assert authenticator.check_token("") == ANYONE
    assert authenticator.check_token("anything") == ANYONE


@pytest.mark.parametrize(
    ("token", "name"), [("root:Milvus", "root"), ("ann:päss:word", "ann"), ("key-1", "key-")]
)
def test_right_credentials_say_who_calls(token: str, name: str) -> None:
    """A user with the password, or a key, whose name is not the key."""
    caller = CLOSED.check_token(token)
    assert caller.name.startswith(name)
    assert caller.name != token


def test_each_key_is_a_tenant_of_its_own() -> None:
    """Also one that has a colon in it."""
    tokens = ["root:Milvus", "ann:päss:word", "key-1", "with:colon"]
    assert len({CLOSED.check_token(token).tenant for token in tokens}) == len(tokens)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "missing authorization in header"),
        ("root:milvus", "please check username and password are correct"),
        ("root:", "please check username and password are correct"),
        (":Milvus", "please check username and password are correct"),
        ("nobody:Milvus", "please check username and password are correct"),
        ("key-2", "please check api key is correct"),
        ("root", "please check api key is correct"),
        ("key-1 ", "please check api key is correct"),
    ],
)
def test_wrong_credentials_are_not(token: str, message: str) -> None:
    """The message has Milvus's words, and none of the secret."""
    with pytest.raises(Unauthenticated) as caught:
        CLOSED.check_token(token)
    assert message in caught.value.message
    assert "Milvus" not in caught.value.message


def test_secrets_are_not_shown() -> None:
    """A settings dump has no password in it."""
    settings = AccessSettings(users={"root": SecretStr("Milvus")}, api_keys=[SecretStr("key-1")])
    assert "Milvus" not in repr(settings)
    assert "key-1" not in repr(settings)


class Ring:
    """One key, for the APIs of the models."""

    def find_caller(self, secret: str, scope: Scope) -> Caller | None:
        """Know it."""
        is_good = secret == "mv-secret" and scope is Scope.EMBED  # noqa: S105 - of a test
        return Caller(name="key-1", tenant="north") if is_good else None


@pytest.mark.parametrize("required", [True, False])
def test_key_that_was_made_is_known(*, required: bool) -> None:
    """Whether keys are asked for or not: its use is counted on its tenant."""
    authenticator = Authenticator(AccessSettings(required=required), Ring())
    assert authenticator.check_token("mv-secret").tenant == "north"
    assert authenticator.is_open is not required


def test_key_opens_only_what_it_is_for() -> None:
    """Where keys are asked for at all."""
    closed = Authenticator(AccessSettings(required=True), Ring())
    for token, scope in (("mv-secret", Scope.MILVUS), ("other", Scope.EMBED), ("", Scope.EMBED)):
        with pytest.raises(Unauthenticated):
            closed.check_token(token, scope)
    opened = Authenticator(AccessSettings(), Ring())
    assert opened.check_token("mv-secret", Scope.MILVUS) == ANYONE
