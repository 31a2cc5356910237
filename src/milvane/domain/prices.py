"""What the hosted models cost, to show usage in money. US dollars for a million tokens."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from milvane.domain.models import ModelName

HOSTED_PRICES: Mapping[ModelName, float] = MappingProxyType(
    {
        ModelName("text-embedding-v4"): 0.07,
        ModelName("text-embedding-v3"): 0.07,
        ModelName("multimodal-embedding-v1"): 0.0,
    }
)
"""As Model Studio's documents have them (Singapore, May 2026); of the others they give none."""


def cost_of(tokens: Mapping[str, int]) -> float | None:
    """
    Say what the tokens of models would have cost.

    Args:
        tokens: By the model's name.

    Returns:
        US dollars, of those models whose price is known; nothing if none is.
    """
    known = [
        HOSTED_PRICES[ModelName(model)] * count / 1e6
        for model, count in tokens.items()
        if ModelName(model) in HOSTED_PRICES
    ]
    return sum(known) if known else None
