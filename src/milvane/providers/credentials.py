"""
Which secret a provider is sent.

Order, the first wins: the label in the function's parameters, the label that the operator gave
the provider, ``MILVUS_<NAME>_API_KEY``, ``MILVUSAI_<NAME>_API_KEY``. A function may name its own
server, but not have the operator's secrets sent there unless the operator trusts it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from milvane.domain.errors import InvalidInput
from milvane.domain.providers import ProviderFunction
from milvane.domain.secrecy import looks_like_secret
from milvane.providers.configuration import Configuration
from milvane.providers.dialect import CredentialKind, Provider

_PREFIXES = ("MILVUS_", "MILVUSAI_")
_KEYS: Mapping[CredentialKind, tuple[str, ...]] = {
    CredentialKind.API_KEY: ("apikey",),
    CredentialKind.KEY_PAIR: ("access_key_id", "secret_access_key"),
    CredentialKind.GOOGLE_KEY: ("credential_json",),
}


@dataclass(frozen=True, slots=True)
class Secrets:
    """What proves to a provider who pays."""

    kind: CredentialKind
    values: tuple[SecretStr, ...]
    """The API key; the id and secret of a key pair; a service account key as JSON."""

    def reveal(self) -> tuple[str, ...]:
        """Read them, for the request that needs them."""
        return tuple(value.get_secret_value() for value in self.values)


def find_secrets(
    provider: Provider,
    function: ProviderFunction,
    configuration: Configuration,
    environment: Mapping[str, str],
    *,
    is_trusted: bool,
) -> Secrets | None:
    """
    Find what a provider is sent for a function.

    Args:
        provider: Who is called.

        function: For which function.

        configuration: What the operator keeps.

        environment: Variables that begin with ``MILVUS``.

        is_trusted: Whether the server that is called may see the operator's secrets.

    Returns:
        None if the server is called without.

    Raises:
        InvalidInput: With Milvus's message, if there is no such label, or nothing where a secret is
            needed; never with a secret.
    """
    label = function.params.get("credential", "")
    if label:
        named = _by_label(provider, label, configuration)
        if not is_trusted:
            raise InvalidInput(
                f"the credential [{label}] is not sent to a server that only the function names: "
                "ask the operator to add its address to the setting providers.trusted_urls"
            )
        return named
    if not is_trusted:
        return None
    label = configuration.entry_of(provider.name).credential
    if label:
        return _by_label(provider, label, configuration)
    secrets = _by_variable(provider, environment)
    if secrets is None and not provider.is_credential_optional:
        variables = " and ".join(f"MILVUS_{variable}" for variable in provider.variables)
        raise InvalidInput(
            f"missing credentials config or configure the {variables} environment variable in the "
            "Milvus service"
        )
    return secrets


def _by_label(provider: Provider, label: str, configuration: Configuration) -> Secrets:
    kind = provider.credential
    entry = configuration.credentials.get(label.lower(), {})
    for key in _KEYS[kind]:
        if key in entry:
            continue
        if not entry and looks_like_secret(label):
            raise InvalidInput(
                "the function parameter [credential] looks like a raw key, which everybody who "
                "describes the collection could read: put the key under `credential:` in "
                "milvus.yaml, and give its label here"
            )
        raise InvalidInput(
            f"{label} is not a {kind.value} crediential, can not find key: {label}.{key}"
        )
    values = tuple(entry[key] for key in _KEYS[kind])
    if kind is CredentialKind.GOOGLE_KEY:
        values = (_decode_google_key(label, values[0]),)
    return Secrets(kind, values)


def _decode_google_key(label: str, encoded: SecretStr) -> SecretStr:
    try:
        return SecretStr(base64.b64decode(encoded.get_secret_value(), validate=True).decode())
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidInput(f"parse gcp credential:{label} faild, err: not base64") from None


def _by_variable(provider: Provider, environment: Mapping[str, str]) -> Secrets | None:
    for prefix in _PREFIXES:
        values = [environment.get(prefix + variable, "") for variable in provider.variables]
        if not all(values):
            continue
        if provider.credential is CredentialKind.GOOGLE_KEY:
            values = [_read_google_key(prefix + provider.variables[0], Path(values[0]))]
        return Secrets(provider.credential, tuple(SecretStr(value) for value in values))
    return None


def _read_google_key(variable: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(
            f"Vertexai: read credentials file failed: the file that {variable} names cannot be read"
        ) from None
