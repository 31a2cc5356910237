"""
Telling a raw secret from the label of one.

Function parameters are stored with the collection and shown to everybody who describes it. So a
secret must never be one: parameters name the label under which the operator keeps it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

_SECRET_KEYS = frozenset(
    {
        "api_key",
        "apikey",
        "api-key",
        "access_key",
        "access_key_id",
        "aws_access_key_id",
        "aws_secret_access_key",
        "authorization",
        "credential_json",
        "key",
        "password",
        "secret",
        "secret_access_key",
        "token",
    }
)
_WELL_KNOWN = re.compile(
    r"^(?:sk-|sk_|pa-|hf_|gsk_|jina_|AIza|AKIA|ASIA|AQVN|ya29\.|Bearer\s)[A-Za-z0-9_\-./+=]{14,}$"
)
_RANDOM = re.compile(r"^[A-Za-z0-9_\-./+=|:]{32,}$")
_BITS_OF_RANDOM_TEXT = 3.4
"""Bits a character: words of a language joined by dashes stay below, random hex digits above."""


def looks_like_secret(text: str) -> bool:
    """Say whether a text has the form of a key rather than of a label."""
    if _WELL_KNOWN.match(text):
        return True
    has_digits = any(character.isdigit() for character in text)
    return bool(_RANDOM.match(text)) and has_digits and _bits(text) >= _BITS_OF_RANDOM_TEXT


def _bits(text: str) -> float:
    shares = [uses / len(text) for uses in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def find_raw_secret(params: Mapping[str, str]) -> str | None:
    """
    Find a parameter that carries a secret itself.

    Args:
        params: A function's parameters, with keys in lower case.

    Returns:
        The parameter's key; none if there is no such parameter. `credential` is only looked at for
        well-known forms: whether it is a label is known to who keeps the labels.
    """
    for key, value in params.items():
        if value and (key in _SECRET_KEYS or _WELL_KNOWN.match(value) or _url_has_secret(value)):
            return key
    return None


def _url_has_secret(value: str) -> bool:
    if "://" not in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    named = {key.lower() for key, _ in parse_qsl(parts.query)}
    return bool(parts.password or parts.username or named & _SECRET_KEYS)
