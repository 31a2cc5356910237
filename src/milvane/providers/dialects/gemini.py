"""The Gemini API (Google AI)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import OperatorEntry, Provider, at, each
from milvane.providers.parameters import place_url, quote_segment, read_dimension, read_model


@dataclass(frozen=True, slots=True)
class Gemini:
    """One function's requests."""

    url: str
    model: str
    dimension: int | None
    task: str
    max_batch_texts: int = 32

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:
        """Build the JSON of a request."""
        task = self.task or (
            "RETRIEVAL_QUERY" if purpose is Purpose.QUERY else "RETRIEVAL_DOCUMENT"
        )
        size = {"outputDimensionality": self.dimension} if self.dimension else {}
        return {
            "requests": [
                {
                    "model": f"models/{self.model}",
                    "content": {"parts": [{"text": text}]},
                    "taskType": task,
                    **size,
                }
                for text in texts
            ]
        }

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        return each(at(reply, "embeddings"), "values")


def _open(function: ProviderFunction, entry: OperatorEntry) -> Gemini:
    model = read_model(function).removeprefix("models/")
    if not model:
        raise InvalidInput("model_name is required for Gemini embedding provider")
    default = (
        "https://generativelanguage.googleapis.com/v1beta/models/"
        f"{quote_segment(model)}:batchEmbedContents"
    )
    return Gemini(
        url=place_url(function.params.get("url") or entry.url, default),
        model=model,
        dimension=read_dimension(function),
        task=function.params.get("task", ""),
    )


PROVIDER = Provider(
    name="gemini",
    open=_open,
    key_header=("x-goog-api-key", "{}"),
    tokens_at=("usageMetadata.promptTokenCount",),
    int8_refusal="Gemini embedding only supports FloatVector field, got Int8Vector",
)
