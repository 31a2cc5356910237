"""Voyage AI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, VectorKind
from milvane.providers.dialect import OperatorEntry, Provider, at, by_index
from milvane.providers.parameters import place_url, read_bool, read_dimension, read_model

DEFAULT_URL = "https://api.voyageai.com/v1/embeddings"


@dataclass(frozen=True, slots=True)
class VoyageAi:
    """One function's requests."""

    url: str
    model: str
    dimension: int | None
    truncation: bool
    kind: VectorKind
    max_batch_texts: int = 128

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:
        """Build the JSON of a request."""
        body: dict[str, Any] = {
            "model": self.model,
            "input": list(texts),
            "input_type": purpose.value,
            "truncation": self.truncation,
        }
        if self.dimension:
            body["output_dimension"] = self.dimension
        body["output_dtype"] = "int8" if self.kind is VectorKind.INT8 else "float"
        return body

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        return by_index(at(reply, "data"), index="index", vector="embedding")


def _open(function: ProviderFunction, entry: OperatorEntry) -> VoyageAi:
    return VoyageAi(
        url=place_url(function.params.get("url") or entry.url, DEFAULT_URL),
        model=read_model(function),
        dimension=read_dimension(function),
        truncation=bool(read_bool(function, "truncation")),
        kind=function.output.kind,
    )


PROVIDER = Provider(name="voyageai", open=_open, has_int8=True, tokens_at=("usage.total_tokens",))
