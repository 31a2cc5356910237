"""Vertex AI (Google Cloud): `predict`, and `embedContent` for the Gemini models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import CredentialKind, OperatorEntry, Provider, at, each
from milvane.providers.parameters import (
    place_url,
    quote_segment,
    read_dimension,
    read_model,
    read_place,
)

_TASK_TYPES: Mapping[tuple[str, Purpose], str] = {
    ("DOC_RETRIEVAL", Purpose.DOCUMENT): "RETRIEVAL_DOCUMENT",
    ("DOC_RETRIEVAL", Purpose.QUERY): "RETRIEVAL_QUERY",
    ("CODE_RETRIEVAL", Purpose.DOCUMENT): "RETRIEVAL_DOCUMENT",
    ("CODE_RETRIEVAL", Purpose.QUERY): "CODE_RETRIEVAL_QUERY",
    ("STS", Purpose.DOCUMENT): "SEMANTIC_SIMILARITY",
    ("STS", Purpose.QUERY): "SEMANTIC_SIMILARITY",
}
_DEFAULT_TASK = "DOC_RETRIEVAL"


@dataclass(frozen=True, slots=True)
class Predict:
    """One function's requests to a text embedding model."""

    url: str
    dimension: int | None
    task: str
    max_batch_texts: int = 128

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:
        """Build the JSON of a request."""
        task = _TASK_TYPES.get((self.task, purpose))
        kind = {"task_type": task} if task else {}
        parameters = {"outputDimensionality": self.dimension} if self.dimension else {}
        return {
            "instances": [{**kind, "content": text} for text in texts],
            "parameters": parameters,
        }

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        return each(at(reply, "predictions"), "embeddings", "values")


@dataclass(frozen=True, slots=True)
class EmbedContent:
    """One function's requests to a Gemini model, one text a call."""

    url: str
    dimension: int | None
    task: str
    max_batch_texts: int = 1

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:
        """Build the JSON of a request."""
        body: dict[str, Any] = {"content": {"parts": [{"text": texts[0]}]}}
        if task := _TASK_TYPES.get((self.task, purpose)):
            body["taskType"] = task
        if self.dimension:
            body["outputDimensionality"] = self.dimension
        return body

    def vectors(self, reply: Any) -> list[Any]:
        """Read the one vector of a reply."""
        return [at(reply, "embedding", "values")]


def _open(function: ProviderFunction, entry: OperatorEntry) -> Predict | EmbedContent:
    location = read_place(function, "location", "us-central1")
    project = quote_segment(function.params.get("projectid", ""))
    model = read_model(function)
    is_gemini = model.startswith("gemini")
    verb = "embedContent" if is_gemini else "predict"
    default = (
        f"https://{location}-aiplatform.googleapis.com/v1/projects/{project}/locations/{location}"
        f"/publishers/google/models/{quote_segment(model)}:{verb}"
    )
    return (EmbedContent if is_gemini else Predict)(
        url=place_url(function.params.get("url") or entry.url, default),
        dimension=read_dimension(function),
        task=function.params.get("task") or _DEFAULT_TASK,
    )


PROVIDER = Provider(
    name="vertexai",
    open=_open,
    credential=CredentialKind.GOOGLE_KEY,
    tokens_at=(
        "predictions.*.embeddings.statistics.token_count",
        "usageMetadata.promptTokenCount",
    ),
    environment=("GOOGLE_APPLICATION_CREDENTIALS",),
)
