"""Hugging Face Inference: the feature extraction pipeline of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.providers.dialect import OperatorEntry, Provider, UnreadableReply
from milvane.providers.parameters import (
    quote_segment,
    read_bool,
    read_dimension,
    read_model,
    read_positive,
    with_path,
)

DEFAULT_URL = "https://router.huggingface.co"
_INFERENCE = "hf-inference"
_MAX_BATCH_TEXTS = 128


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """One function's requests."""

    url: str
    max_batch_texts: int
    options: Mapping[str, Any]

    def body(self, texts: Sequence[str], purpose: Purpose) -> Any:  # noqa: ARG002 - has no purposes
        """Build the JSON of a request."""
        return {"inputs": list(texts), **self.options}

    def vectors(self, reply: Any) -> list[Any]:
        """Read the vectors of a reply."""
        if not isinstance(reply, list):
            raise UnreadableReply("unsupported Hugging Face feature-extraction response format")
        return reply


def _open(function: ProviderFunction, entry: OperatorEntry) -> HuggingFace:
    read_dimension(function)  # checked as everywhere; the pipeline has no parameter for it
    base = function.params.get("url") or entry.url or DEFAULT_URL
    prefix = urlsplit(base).path.rstrip("/")
    return HuggingFace(
        url=with_path(base, f"{prefix}/{_INFERENCE}/models/{_model(function)}{_PIPELINE}"),
        max_batch_texts=read_positive(function, "max_client_batch_size", _MAX_BATCH_TEXTS),
        options=_options(function),
    )


_PIPELINE = "/pipeline/feature-extraction"


def _model(function: ProviderFunction) -> str:
    model = read_model(function)
    if not model:
        raise InvalidInput("huggingface embedding model name is required")
    if function.params.get("hf_provider", _INFERENCE) != _INFERENCE:
        raise InvalidInput(f"Hugging Face hf_provider only supports {_INFERENCE}")
    segments = model.split("/")
    if {"", ".", ".."} & set(segments):
        raise InvalidInput("Hugging Face model name contains invalid path segment")
    return "/".join(quote_segment(segment) for segment in segments)


def _options(function: ProviderFunction) -> Mapping[str, Any]:
    options: dict[str, Any] = {}
    for key in ("normalize", "truncate"):
        value = read_bool(function, key)
        if value is not None:
            options[key] = value
    for key in ("truncation_direction", "prompt_name"):
        if key in function.params:
            options[key] = function.params[key]
    return options


PROVIDER = Provider(
    name="huggingface",
    open=_open,
    int8_refusal="Hugging Face embedding only supports FloatVector field, got Int8Vector",
)
