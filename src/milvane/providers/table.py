"""The table of providers: a new one is a module in `dialects` and a row here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from milvane.providers.dialect import Provider
from milvane.providers.dialects import (
    azure_openai,
    bedrock,
    cohere,
    dashscope,
    gemini,
    huggingface,
    openai,
    siliconflow,
    tei,
    vertexai,
    voyageai,
    yc,
)

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        module.PROVIDER.name: module.PROVIDER
        for module in (
            openai,
            azure_openai,
            dashscope,
            bedrock,
            vertexai,
            voyageai,
            cohere,
            siliconflow,
            tei,
            yc,
            gemini,
            huggingface,
        )
    }
)
"""By the name that functions use, in the order in which Milvus lists them."""
