"""Credentials as Milvus's clients send them."""

from __future__ import annotations

import base64

import pytest

from milvane.domain.errors import Unauthenticated
from milvane.gateway.authentication import read_token


def test_token_is_decoded() -> None:
    """pymilvus sends user and password, or a key, in base64."""
    encoded = base64.b64encode(b"root:Milvus").decode()
    assert read_token([("dbname", "x"), ("authorization", encoded)]) == "root:Milvus"


def test_missing_token_is_empty() -> None:
    """Whether one is needed is not decided here."""
    assert read_token([("dbname", "x")]) == ""


@pytest.mark.parametrize("value", ["root:Milvus", "////8=", "a"])
def test_what_is_no_token_is_refused(value: str) -> None:
    """The words are Milvus's."""
    with pytest.raises(Unauthenticated, match="invalid token format"):
        read_token([("authorization", value)])
