"""What is watched: a number, a limit, and for how long. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import MappingProxyType

from milvane.domain.errors import InvalidInput
from milvane.domain.usage import Operation


class Watched(Enum):
    """The number that a rule is about, over the calls of its window."""

    QUERIES_PER_S = "queries_per_s"
    SUCCESS_RATE = "success_rate"
    """Successful calls among those that were not refused, from 0 to 1."""
    ERROR_SHARE = "error_share"
    """The rest of these."""
    REFUSED_SHARE = "refused_share"
    """Calls refused (bad input, no permission, spent quota) among all, from 0 to 1."""
    AVERAGE_S = "average_s"
    P99_S = "p99_s"
    TOKENS_PER_S = "tokens_per_s"
    QUOTA_SHARE = "quota_share"
    """Used part of a month's tokens, from 0; the fullest of the quotas that are watched."""


class Operator(Enum):
    """On which side of the limit a value breaks it."""

    ABOVE = ">"
    AT_LEAST = ">="
    BELOW = "<"
    AT_MOST = "<="

    @property
    def is_upward(self) -> bool:
        """Whether high values are the bad ones."""
        return self in (Operator.ABOVE, Operator.AT_LEAST)


_COMPARISONS: Mapping[Operator, Callable[[float, float], bool]] = MappingProxyType(
    {
        Operator.ABOVE: operator.gt,
        Operator.AT_LEAST: operator.ge,
        Operator.BELOW: operator.lt,
        Operator.AT_MOST: operator.le,
    }
)


class Severity(Enum):
    """How soon somebody should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


MAX_WINDOW_S = 86_400
FINE_WINDOW_S = 3600
"""Windows up to this length are whole tens of seconds, longer ones whole minutes."""
MAX_WAIT_S = 7 * 86_400.0
MAX_FILTER = 100


@dataclass(frozen=True, slots=True)
class Condition:
    """When a rule is broken, and when it is well again; an empty choice is everything."""

    watched: Watched
    operator: Operator
    threshold: float
    resolve_threshold: float | None = None
    """Firing ends on the other side of this; none for `threshold` itself."""
    window_s: int = 60
    for_s: float = 0.0
    """So long it is broken without a pause before it fires."""
    resolve_for_s: float = 60.0
    """So long it is well without a pause before firing is over."""
    min_requests: int = 0
    """With fewer calls in the window there is nothing to say."""
    models: Sequence[str] = ()
    instances: Sequence[str] = ()
    operations: Sequence[Operation] = ()
    quotas: Sequence[str] = ()
    """Such as ``tenant:north``; only for `Watched.QUOTA_SHARE`."""

    def is_broken_by(self, value: float | None) -> bool:
        """Say whether a value breaks the limit; no value does not."""
        return value is not None and _COMPARISONS[self.operator](value, self.threshold)

    def is_well_at(self, value: float | None) -> bool:
        """Say whether a value ends firing, if it stays; no value does too."""
        limit = self.threshold if self.resolve_threshold is None else self.resolve_threshold
        return value is None or not _COMPARISONS[self.operator](value, limit)

    def check(self) -> None:
        """
        Look whether the condition makes sense.

        Raises:
            InvalidInput: If it does not; the message says how it would.
        """
        _check_limits(self)
        _check_times(self)
        chosen = (self.models, self.instances, self.operations)
        if self.watched is Watched.QUOTA_SHARE and (any(chosen) or self.min_requests):
            raise InvalidInput(
                "a rule on quota_share chooses quotas, not calls", parameter="models"
            )
        if self.watched is not Watched.QUOTA_SHARE and self.quotas:
            raise InvalidInput("only a rule on quota_share chooses quotas", parameter="quotas")


def _check_limits(condition: Condition) -> None:
    limits = (
        ("threshold", condition.threshold),
        ("resolve_threshold", condition.resolve_threshold),
    )
    for name, limit in limits:
        if limit is not None and not math.isfinite(limit):
            raise InvalidInput(f"{name} is a number", parameter=name)
    resolve = condition.resolve_threshold
    if resolve is None or resolve == condition.threshold:
        return
    if condition.operator.is_upward == (resolve > condition.threshold):
        side = "below" if condition.operator.is_upward else "above"
        raise InvalidInput(
            f"resolve_threshold lies {side} threshold, on the good side of it",
            parameter="resolve_threshold",
        )


def _check_times(condition: Condition) -> None:
    unit_s = 10 if condition.window_s <= FINE_WINDOW_S else 60
    if not 10 <= condition.window_s <= MAX_WINDOW_S or condition.window_s % unit_s:
        raise InvalidInput(
            "window_s is a multiple of 10 seconds up to an hour, of 60 up to a day",
            parameter="window_s",
        )
    for name, wait_s in (("for_s", condition.for_s), ("resolve_for_s", condition.resolve_for_s)):
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise InvalidInput(f"{name} is from 0 to {MAX_WAIT_S:.0f} seconds", parameter=name)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is watched, and who is told how."""

    rule_id: str
    name: str
    condition: Condition
    severity: Severity
    channels: Sequence[str]
    """Ids of channels; empty for all that there are."""
    title: str
    """A template, as `wording` has them; empty for the usual one, as `body`."""
    body: str
    is_enabled: bool
    silenced_until: datetime | None
    created_at: datetime

    def is_silent(self, now: datetime) -> bool:
        """Say whether nobody is to be told now."""
        return self.silenced_until is not None and now < self.silenced_until


@dataclass(frozen=True, slots=True)
class Channel:
    """Where notifications go, without its address, which holds secrets."""

    channel_id: str
    name: str
    kind: str
    """The scheme of its address, such as ``slack``."""
    created_at: datetime
