"""Telling a raw secret from the label of one."""

from __future__ import annotations

import pytest

from milvane.domain.secrecy import find_raw_secret, looks_like_secret

SECRETS = [
    "sk-proj-abcdefghijklmnop1234",
    "sk-0123456789abcdef0123456789abcdef",
    "hf_abcdefghijklmnopqrstuvwx",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-1234567890abcdefghijklmnopqrstu",
    "Bearer abcdefghijklmnop",
    "9f8a7c6b5e4d3c2b1a0f9e8d7c6b5a4f",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
]
LABELS = [
    "apikey1",
    "sk-prod",
    "my_openai_key",
    "openai-production-europe-2",
    "aksk1",
    "",
    "hf_dev",
]


@pytest.mark.parametrize("text", SECRETS)
def test_keys_of_vendors_are_known(text: str) -> None:
    """Well-known prefixes, and long random text."""
    assert looks_like_secret(text)


@pytest.mark.parametrize("text", LABELS)
def test_labels_that_people_give_pass(text: str) -> None:
    """A label is short, or made of words."""
    assert not looks_like_secret(text)


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"api_key": "x"}, "api_key"),
        ({"secret_access_key": "x"}, "secret_access_key"),
        ({"credential": "sk-proj-abcdefghijklmnop1234"}, "credential"),
        ({"model_name": "sk-proj-abcdefghijklmnop1234"}, "model_name"),
        ({"url": "https://user:pass@h/"}, "url"),
        ({"url": "https://h/?api_key=1"}, "url"),
        ({"credential": "apikey1", "url": "https://h/v1?version=2"}, None),
        ({"api_key": ""}, None),
        ({"url": "http://[broken"}, None),
        ({"model_name": "Qwen/Qwen3-Embedding-8B", "user": "u", "integration_id": "i"}, None),
    ],
)
def test_parameter_with_a_secret_is_found(params: dict[str, str], key: str | None) -> None:
    """By its own name, or by what it holds; whatever key it stands under."""
    assert find_raw_secret(params) == key
