"""What a provider's module says of its provider. Values and pure functions only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction


class UnreadableReply(Exception):
    """A reply is not of the form that the provider documents."""


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """What the operator set for a provider, as `function.textEmbedding.providers.<name>` does."""

    credential: str = ""
    """A label, in lower case."""
    enabled: bool = True
    url: str = ""
    resource_name: str = ""
    """Of Azure OpenAI."""


class Dialect(Protocol):
    """How one function talks to its provider."""

    @property
    def url(self) -> str:
        """Where its requests go."""

    @property
    def max_batch_texts(self) -> int:
        """Texts of one request at most."""

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:
        """Build the JSON of a request for one to `max_batch_texts` texts."""

    def vectors(self, reply: Any) -> Sequence[Any]:
        """
        Read the vectors out of the JSON of a reply, in the order of the texts.

        Raises:
            UnreadableReply: If they are not where they should be.
        """


class CredentialKind(Enum):
    """What a provider asks for; the values are Milvus's words for them."""

    API_KEY = "apikey"
    KEY_PAIR = "aksk"
    GOOGLE_KEY = "gcp"


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of the table of providers."""

    name: str
    open: Callable[[ProviderFunction, OperatorEntry], Dialect]
    """
    Read a function's parameters.

    Raises `InvalidInput`, with Milvus's message, if one is wrong.
    """
    credential: CredentialKind = CredentialKind.API_KEY
    is_credential_optional: bool = False
    key_header: tuple[str, str] = ("Authorization", "Bearer {}")
    """Name and form of the header that carries an API key."""
    environment: Sequence[str] = ()
    """Variables of the credential after ``MILVUS_``; ``<NAME>_API_KEY`` where none is given."""
    has_int8: bool = False
    tokens_at: Sequence[str] = ()
    """
    Where a reply says how many tokens were used: keys joined with dots, ``*`` for all of a list;
    the first that is there counts.
    """
    tokens_header: str = ""
    """The header that says so, in lower case."""
    int8_refusal: str = ""
    """Milvus's own words for an INT8_VECTOR field, where a provider has some."""

    @property
    def variables(self) -> Sequence[str]:
        """Names of the environment's variables, after ``MILVUS_``."""
        return self.environment or (f"{self.name.upper()}_API_KEY",)


def by_index(entries: Any, *, index: str, vector: str) -> list[Any]:
    """
    Read a list of numbered entries.

    Raises:
        UnreadableReply: If it is none.
    """
    try:
        ordered = sorted(entries, key=lambda entry: int(entry[index]))
        return [entry[vector] for entry in ordered]
    except (TypeError, KeyError, ValueError) as error:
        raise UnreadableReply(f"no {index!r} and {vector!r} in each entry") from error


def at(reply: Any, *path: str) -> Any:
    """
    Read what is at the end of a path of keys.

    Raises:
        UnreadableReply: If the path leads nowhere.
    """
    for key in path:
        if not isinstance(reply, Mapping) or key not in reply:
            raise UnreadableReply(f"no {key!r} in the reply")
        reply = reply[key]
    return reply


def each(entries: Any, *path: str) -> list[Any]:
    """
    Read what is at the end of a path of keys in each entry of a list.

    Raises:
        UnreadableReply: If it is no list, or the path leads nowhere.
    """
    if not isinstance(entries, list):
        raise UnreadableReply("no list of vectors in the reply")
    return [at(entry, *path) for entry in entries]
