"""How the whole server stands, as probes and people are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the whole server says of itself."""

    reasons: tuple[str, ...] = ()
    """Why a request would fail now, a sentence each, safe to show; none when it would succeed."""

    @property
    def is_ready(self) -> bool:
        """Nothing stands in the way of a request."""
        return not self.reasons
