"""Yandex Cloud foundation models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import OperatorEntry, Provider, UnreadableReply
from milvane.providers.parameters import place_url, read_dimension, read_model

DEFAULT_URL = "https://llm.api.cloud.yandex.net/foundationModels/v1/textEmbedding"


@dataclass(frozen=True, slots=True)
class YandexCloud:
    """One function's requests."""

    url: str
    model: str
    max_batch_texts: int = 128

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:  # noqa: ARG002 - the model's name says it
        """Build the JSON of a request."""
        if len(texts) == 1:
            return {"modelUri": self.model, "text": texts[0]}
        return {"modelUri": self.model, "texts": list(texts)}

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        if isinstance(reply, Mapping):
            if isinstance(reply.get("embeddings"), list) and reply["embeddings"]:
                return list(reply["embeddings"])
            if "embedding" in reply:
                return [reply["embedding"]]
        raise UnreadableReply("neither 'embeddings' nor 'embedding' in the reply")


def _open(function: ProviderFunction, entry: OperatorEntry) -> YandexCloud:
    model = read_model(function)
    if not model:
        raise InvalidInput("yc embedding model name is required")
    read_dimension(function)  # checked as everywhere; the service has no parameter for it
    return YandexCloud(
        url=place_url(function.params.get("url") or entry.url, DEFAULT_URL), model=model
    )


PROVIDER = Provider(
    name="yc",
    open=_open,
    key_header=("Authorization", "Api-Key {}"),
    tokens_at=("numTokens",),
)
