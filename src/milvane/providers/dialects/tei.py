"""Text Embeddings Inference, or a server of your own that answers `POST /embed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import OperatorEntry, Provider, UnreadableReply
from milvane.providers.parameters import (
    read_bool,
    read_dimension,
    read_positive,
    split_url,
    with_path,
)

_PATH = "/embed"
_MAX_BATCH_TEXTS = 32
_DIRECTIONS = frozenset({"Left", "Right"})


@dataclass(frozen=True, slots=True)
class Tei:
    """One function's requests."""

    url: str
    max_batch_texts: int
    ingestion_prompt: str
    search_prompt: str
    truncate: bool | None
    truncation_direction: str | None
    dimension: int | None

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:
        """Build the JSON of a request; the prompt is part of each text, as in Milvus."""
        prompt = self.search_prompt if purpose is Purpose.QUERY else self.ingestion_prompt
        body: dict[str, Any] = {"inputs": [prompt + text for text in texts]}
        if self.truncate is not None:
            body["truncate"] = self.truncate
        if self.truncation_direction is not None:
            body["truncation_direction"] = self.truncation_direction
        if self.dimension:
            body["dimensions"] = self.dimension
        return body

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        if not isinstance(reply, list):
            raise UnreadableReply("no list of vectors in the reply")
        return reply


def _open(function: ProviderFunction, entry: OperatorEntry) -> Tei:
    params = function.params
    direction = params.get("truncation_direction")
    if direction is not None and direction not in _DIRECTIONS:
        raise InvalidInput(
            f"[truncation_direction param's value: {direction}] is not invalid, "
            "only supports [Left/Right]"
        )
    return Tei(
        url=_url(params.get("url", ""), params.get("endpoint", ""), entry.url),
        max_batch_texts=read_positive(function, "max_client_batch_size", _MAX_BATCH_TEXTS),
        ingestion_prompt=params.get("ingestion_prompt", ""),
        search_prompt=params.get("search_prompt", ""),
        truncate=read_bool(function, "truncate"),
        truncation_direction=direction,
        dimension=read_dimension(function),
    )


def _url(url: str, endpoint: str, operator: str) -> str:
    """Choose where requests go: the path of an `endpoint` is replaced, that of a `url` kept."""
    if not url and endpoint:
        return with_path(endpoint, _PATH)
    base = url or operator
    if not base:
        raise InvalidInput(f"endpoint: [{endpoint}] is not a valid http/https link")
    path = split_url(base).path.rstrip("/")
    return with_path(base, path if path.endswith(_PATH) else path + _PATH)


PROVIDER = Provider(
    name="tei", open=_open, is_credential_optional=True, tokens_header="x-compute-tokens"
)
