"""What is known of each model family where a folder says nothing about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

QWEN3_QUERY = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
"""The prompt in Qwen3-Embedding's own configuration."""


@dataclass(frozen=True, slots=True)
class FamilyDefaults:
    """How vectors of a family are made unless its folder says otherwise."""

    pooling: str
    first: str | None
    """Special token before a window, for tokenizers that do not say it themselves."""
    last: str | None
    """The same behind a window."""
    query_prompt: str = ""


FAMILY_DEFAULTS: Mapping[str, FamilyDefaults] = MappingProxyType(
    {
        "bert": FamilyDefaults("mean", "[CLS]", "[SEP]"),
        "roberta": FamilyDefaults("mean", "<s>", "</s>"),
        "camembert": FamilyDefaults("mean", "<s>", "</s>"),
        "xlm-roberta": FamilyDefaults("cls", "<s>", "</s>"),
        "new": FamilyDefaults("cls", "<s>", "</s>"),
        "modernbert": FamilyDefaults("cls", "[CLS]", "[SEP]"),
        "qwen3": FamilyDefaults("last", None, "<|endoftext|>", QWEN3_QUERY),
    }
)
"""By ``model_type`` of ``config.json``."""

OTHER_FAMILY = FamilyDefaults("mean", None, None)
"""Families without a light path."""
