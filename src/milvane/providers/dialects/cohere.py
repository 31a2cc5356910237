"""Cohere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, VectorKind
from milvane.providers.dialect import OperatorEntry, Provider, UnreadableReply, at
from milvane.providers.parameters import place_url, read_dimension, read_model

DEFAULT_URL = "https://api.cohere.com/v2/embed"
_INPUT_TYPES: Mapping[Purpose, str] = {
    Purpose.DOCUMENT: "search_document",
    Purpose.QUERY: "search_query",
}
_TRUNCATIONS = frozenset({"NONE", "START", "END"})


@dataclass(frozen=True, slots=True)
class Cohere:
    """One function's requests."""

    url: str
    model: str
    dimension: int | None
    truncate: str
    kind: VectorKind
    max_batch_texts: int = 96

    @property
    def embedding_type(self) -> str:
        """What the components of the vectors are, in Cohere's word."""
        return "int8" if self.kind is VectorKind.INT8 else "float"

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:
        """Build the JSON of a request."""
        body: dict[str, Any] = {"model": self.model, "texts": list(texts)}
        if not self.model.endswith("v2.0"):  # older models know no input types
            body["input_type"] = _INPUT_TYPES[purpose]
        body["embedding_types"] = [self.embedding_type]
        body["truncate"] = self.truncate
        if self.dimension:
            body["output_dimension"] = self.dimension
        return body

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        found = at(reply, "embeddings", self.embedding_type)
        if not isinstance(found, list):
            raise UnreadableReply(f"no list of {self.embedding_type} vectors in the reply")
        return found


def _open(function: ProviderFunction, entry: OperatorEntry) -> Cohere:
    truncate = function.params.get("truncate", "END")
    if truncate not in _TRUNCATIONS:
        raise InvalidInput("illegal parameters, truncate only supports [NONE, START, END]")
    return Cohere(
        url=place_url(function.params.get("url") or entry.url, DEFAULT_URL),
        model=read_model(function),
        dimension=read_dimension(function),
        truncate=truncate,
        kind=function.output.kind,
    )


PROVIDER = Provider(
    name="cohere",
    open=_open,
    key_header=("Authorization", "bearer {}"),
    has_int8=True,
    tokens_at=("meta.billed_units.input_tokens",),
)
