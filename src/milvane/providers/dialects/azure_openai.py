"""Azure OpenAI: OpenAI's dialect at a deployment of one's own."""

from __future__ import annotations

from milvane.domain.errors import InvalidInput
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import OperatorEntry, Provider
from milvane.providers.dialects.openai import TOKENS_AT, OpenAi
from milvane.providers.parameters import quote_segment, read_dimension, read_model, with_path

_API_VERSION = "api-version=2024-06-01"


def _open(function: ProviderFunction, entry: OperatorEntry) -> OpenAi:
    base = function.params.get("url") or entry.url
    if not base and entry.resource_name:
        base = f"https://{quote_segment(entry.resource_name)}.openai.azure.com"
    if not base:
        raise InvalidInput(
            "must configure the MILVUS_AZURE_OPENAI_RESOURCE_NAME environment variable in the "
            "Milvus service"
        )
    model = read_model(function)
    path = f"/openai/deployments/{quote_segment(model)}/embeddings"
    return OpenAi(
        url=with_path(base, path, query=_API_VERSION),
        model=model,
        dimension=read_dimension(function),
        user=function.params.get("user", ""),
    )


PROVIDER = Provider(
    name="azure_openai", open=_open, key_header=("api-key", "{}"), tokens_at=TOKENS_AT
)
