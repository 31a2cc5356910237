"""How the whole stands: the state of the start, then of each part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from milvane.domain.readiness import Readiness

Reason = Callable[[], str | None]
"""Says why a request would fail now; none if it would not."""


@dataclass(slots=True)
class Condition:
    """What the readiness probe answers from."""

    starting: bool = True
    reasons: list[Reason] = field(default_factory=list)

    def readiness(self) -> Readiness:
        """Say how things stand now; while the server starts, also which parts it waits for."""
        said = tuple(said for reason in self.reasons if (said := reason()))
        return Readiness(("the server is starting", *said) if self.starting else said)
