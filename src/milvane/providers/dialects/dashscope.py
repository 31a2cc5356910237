"""DashScope (Alibaba Cloud Model Studio), in its native dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import OperatorEntry, Provider, at, by_index
from milvane.providers.parameters import place_url, read_dimension, read_model, with_path

PATH = "/api/v1/services/embeddings/text-embedding/text-embedding"
DEFAULT_URL = f"https://dashscope.aliyuncs.com{PATH}"
_BASES = frozenset({"/compatible-mode/v1", "/api/v1"})
"""Paths that people give as the URL, following the service's documents; none takes texts."""
_MAX_BATCH_TEXTS: Mapping[str, int] = {"text-embedding-v1": 25, "text-embedding-v2": 25}
_SMALLEST_MAX_BATCH_TEXTS = 10


@dataclass(frozen=True, slots=True)
class Dashscope:
    """One function's requests."""

    url: str
    model: str
    dimension: int | None

    @property
    def max_batch_texts(self) -> int:
        """Texts of one request at most; 10 for every model since text-embedding-v3."""
        return _MAX_BATCH_TEXTS.get(self.model, _SMALLEST_MAX_BATCH_TEXTS)

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:
        """Build the JSON of a request."""
        parameters: dict[str, Any] = {"text_type": purpose.value}
        if self.dimension:
            parameters["dimension"] = self.dimension
        parameters["output_type"] = "dense"
        return {"model": self.model, "input": {"texts": list(texts)}, "parameters": parameters}

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        return by_index(at(reply, "output", "embeddings"), index="text_index", vector="embedding")


def _open(function: ProviderFunction, entry: OperatorEntry) -> Dashscope:
    url = place_url(function.params.get("url") or entry.url, DEFAULT_URL)
    if urlsplit(url).path.rstrip("/") in _BASES:
        url = with_path(url, PATH)
    return Dashscope(url=url, model=read_model(function), dimension=read_dimension(function))


PROVIDER = Provider(name="dashscope", open=_open, tokens_at=("usage.total_tokens",))
