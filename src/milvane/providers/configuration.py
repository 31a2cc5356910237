"""
What the operator keeps about providers: credentials by label, and an entry for each provider.

The form is that of an existing `milvus.yaml`: labels and keys in any case, values as text.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from milvane.domain.errors import InvalidInput
from milvane.providers.dialect import OperatorEntry
from milvane.providers.settings import ProvidersSettings

logger = logging.getLogger(__name__)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Configuration:
    """Credentials and providers, however they were written down."""

    credentials: Mapping[str, Mapping[str, SecretStr]] = field(default_factory=dict)
    """By label, then by Milvus's key (`apikey`, `access_key_id`, ...); all in lower case."""
    providers: Mapping[str, OperatorEntry] = field(default_factory=dict)
    request_timeout_s: float | None = None

    def entry_of(self, provider: str) -> OperatorEntry:
        """Find what is set for a provider."""
        return self.providers.get(provider, OperatorEntry())


def merge(base: Configuration, over: Configuration) -> Configuration:
    """Lay one configuration over another, label by label and provider by provider."""
    return Configuration(
        credentials={**base.credentials, **over.credentials},
        providers={**base.providers, **over.providers},
        request_timeout_s=over.request_timeout_s or base.request_timeout_s,
    )


def from_settings(settings: ProvidersSettings) -> Configuration:
    """Read the configuration that stands in our own settings."""
    return Configuration(
        credentials={
            label.lower(): {
                key: value
                for key in type(credential).model_fields
                if (value := getattr(credential, key)).get_secret_value()
            }
            for label, credential in settings.credential.items()
        },
        providers={
            name.lower(): OperatorEntry(
                credential=entry.credential.lower(),
                enabled=entry.enable,
                url=entry.url,
                resource_name=entry.resource_name,
            )
            for name, entry in settings.text_embedding.items()
        },
    )


def from_milvus_yaml(document: Any) -> Configuration:
    """Read the configuration in a parsed `milvus.yaml`; what is not there is not set."""
    root = _lowered(document)
    function = _lowered(root.get("function"))
    embedding = _lowered(function.get("textembedding"))
    model = _lowered(function.get("model"))
    return Configuration(
        credentials={
            label: {key: SecretStr(_text(value)) for key, value in _lowered(entry).items() if value}
            for label, entry in _lowered(root.get("credential")).items()
        },
        providers={
            name: _entry(_lowered(entry))
            for name, entry in _lowered(embedding.get("providers")).items()
        },
        request_timeout_s=_duration_s(model.get("requesttimeout")),
    )


def _entry(entry: Mapping[str, Any]) -> OperatorEntry:
    return OperatorEntry(
        credential=_text(entry.get("credential")).lower(),
        enabled=_text(entry.get("enable")).lower() != "false",
        url=_text(entry.get("url")),
        resource_name=_text(entry.get("resource_name")),
    )


def _lowered(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    return {_text(key).lower(): entry for key, entry in value.items()}


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _duration_s(value: Any) -> float | None:
    match = _DURATION.fullmatch(_text(value))
    return (float(match[1]) * _SECONDS[match[2] or "s"] or None) if match else None


def read_file(path: Path) -> Configuration:
    """
    Read a `milvus.yaml`.

    Raises:
        InvalidInput: If it is not there or is no YAML; the message shows nothing of its content.
    """
    import yaml  # only where a `milvus.yaml` is named

    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        # The library's own message quotes the line, which may hold a secret.
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise InvalidInput(f"{path} is not valid YAML{where}") from None
    return from_milvus_yaml(document)


class ConfigurationFile:
    """A `milvus.yaml` that may change while the server runs."""

    def __init__(self, path: Path) -> None:
        """
        Read the file for the first time.

        Raises:
            InvalidInput: If it is not there or is no YAML.
        """
        self._path = path
        self._seen = _stamp(path)
        self._current = read_file(path)

    def current(self) -> Configuration:
        """Read the file again if it has changed; a file that cannot be read changes nothing."""
        stamp = _stamp(self._path)
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._current = read_file(self._path)
            except InvalidInput as error:
                logger.warning("what was read before stays in force: %s", error.message)
            else:
                logger.info("read %s again: it has changed", self._path)
        return self._current


def _stamp(path: Path) -> tuple[int, ...]:
    """Say when the file was written; one small call, so it may stand before every use."""
    try:
        status = os.stat(path)  # noqa: PTH116 - says what is done
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino)
