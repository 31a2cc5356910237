"""OpenAI, and every server that speaks its dialect (vLLM, SGLang, Ollama, one of your own)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import OperatorEntry, Provider, at, by_index
from milvane.providers.parameters import place_url, read_dimension, read_model, with_path

DEFAULT_URL = "https://api.openai.com/v1/embeddings"
_MAX_BATCH_TEXTS = 128
TOKENS_AT = ("usage.total_tokens", "usage.prompt_tokens")
"""Where servers of this dialect say what was used."""


@dataclass(frozen=True, slots=True)
class OpenAi:
    """One function's requests."""

    url: str
    model: str
    dimension: int | None
    user: str
    max_batch_texts: int = _MAX_BATCH_TEXTS

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:  # noqa: ARG002 - has no purposes
        """Build the JSON of a request."""
        body: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if self.user:
            body["user"] = self.user
        body["encoding_format"] = "float"
        if self.dimension:
            body["dimensions"] = self.dimension
        return body

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        return by_index(at(reply, "data"), index="index", vector="embedding")


def complete_url(url: str) -> str:
    """Add the endpoint to a base URL, which is what OpenAI's own clients are given."""
    path = urlsplit(url).path.rstrip("/")
    return with_path(url, f"{path}/embeddings") if path.endswith("/v1") else url


def _open(function: ProviderFunction, entry: OperatorEntry) -> OpenAi:
    return OpenAi(
        url=complete_url(place_url(function.params.get("url") or entry.url, DEFAULT_URL)),
        model=read_model(function),
        dimension=read_dimension(function),
        user=function.params.get("user", ""),
    )


PROVIDER = Provider(name="openai", open=_open, tokens_at=TOKENS_AT)
