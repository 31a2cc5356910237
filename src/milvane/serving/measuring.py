"""What each model was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from milvane.measures import TOKENS, Distribution


@dataclass(slots=True)
class ModelCounts:
    """Requests for the vectors of one model since the start."""

    durations_s: Distribution = field(default_factory=Distribution)
    """Of embedding, without preparing, for those that succeeded."""
    tokens: Distribution = field(default_factory=lambda: Distribution(TOKENS))
    """Of each request."""
    cached_tokens: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    """By the kind of the error."""
