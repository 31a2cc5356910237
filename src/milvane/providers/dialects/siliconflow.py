"""SiliconFlow: OpenAI's dialect with smaller batches."""

from __future__ import annotations

from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import OperatorEntry, Provider
from milvane.providers.dialects.openai import TOKENS_AT, OpenAi, complete_url
from milvane.providers.parameters import place_url, read_dimension, read_model

DEFAULT_URL = "https://api.siliconflow.cn/v1/embeddings"
_MAX_BATCH_TEXTS = 32


def _open(function: ProviderFunction, entry: OperatorEntry) -> OpenAi:
    return OpenAi(
        url=complete_url(place_url(function.params.get("url") or entry.url, DEFAULT_URL)),
        model=read_model(function),
        dimension=read_dimension(function),
        user="",
        max_batch_texts=_MAX_BATCH_TEXTS,
    )


PROVIDER = Provider(name="siliconflow", open=_open, tokens_at=TOKENS_AT)
