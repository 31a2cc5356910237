"""Amazon Bedrock: the Titan text embedding models, one text a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import CredentialKind, OperatorEntry, Provider, at
from milvane.providers.parameters import (
    parse_bool,
    place_url,
    quote_segment,
    read_dimension,
    read_model,
    read_place,
)


@dataclass(frozen=True, slots=True)
class Bedrock:
    """One function's requests."""

    url: str
    region: str
    dimension: int | None
    normalize: bool
    max_batch_texts: int = 1

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:  # noqa: ARG002 - has no purposes
        """Build the JSON of a request."""
        body: dict[str, Any] = {"inputText": texts[0]}
        if self.dimension:
            body["dimensions"] = self.dimension
        body["normalize"] = self.normalize
        return body

    def vectors(self, reply: Any) -> list[Any]:
        """Read the one vector of a reply."""
        return [at(reply, "embedding")]


def _open(function: ProviderFunction, entry: OperatorEntry) -> Bedrock:
    if not function.params.get("region"):
        raise InvalidInput("missing AWS Service region. Please pass `region` param")
    region = read_place(function, "region", "")
    normalize = parse_bool(function.params.get("normalize", "true"))
    if normalize is None:
        raise InvalidInput(f"illegal [normalize:{function.params['normalize']}] param")
    path = f"/model/{quote_segment(read_model(function))}/invoke"
    default = f"https://bedrock-runtime.{region}.amazonaws.com{path}"
    return Bedrock(
        url=place_url(function.params.get("url") or entry.url, default),
        region=region,
        dimension=read_dimension(function),
        normalize=normalize,
    )


PROVIDER = Provider(
    name="bedrock",
    open=_open,
    credential=CredentialKind.KEY_PAIR,
    tokens_at=("inputTextTokenCount",),
    environment=("BEDROCK_ACCESS_KEY_ID", "BEDROCK_SECRET_ACCESS_KEY"),
)
