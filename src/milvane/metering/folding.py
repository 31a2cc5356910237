"""Single calls into sums over 10 seconds, a minute and an hour. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from milvane.domain.usage import Outcome, UsageKey, UsageRecord
from milvane.metering.latency import bin_of

STEPS_S = (10, 60, 3600)
"""Widths of the sums that are kept, each a multiple of the one before."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


SUMMED = (
    "requests",
    "successes",
    "refusals",
    "inputs",
    "tokens",
    "cached_tokens",
    "images",
    "duration_us",
)
"""The numbers of `Sums`, which are columns of the database too."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a call is counted: a stretch of time, and what it is told apart by."""

    step_s: int
    begins_at: datetime
    key: UsageKey


@dataclass(slots=True)
class Sums:
    """What the calls of one slot come to."""

    requests: int = 0
    successes: int = 0
    refusals: int = 0
    inputs: int = 0
    tokens: int = 0
    cached_tokens: int = 0
    images: int = 0
    duration_us: int = 0
    """Of the successful calls."""
    latency: Counter[int] = field(default_factory=Counter)
    """Successful calls by the bin of their duration."""

    def add(self, record: UsageRecord) -> None:
        """Count a call; only a success has used anything."""
        self.requests += 1
        if record.outcome is Outcome.REFUSED:
            self.refusals += 1
        if record.outcome is not Outcome.SUCCESS:
            return
        self.successes += 1
        self.inputs += record.inputs
        self.tokens += record.tokens
        self.cached_tokens += record.cached_tokens
        self.images += record.images
        self.duration_us += round(record.duration_s * 1e6)
        self.latency[bin_of(record.duration_s)] += 1

    def merge(self, other: Sums) -> None:
        """Add the calls of another slot."""
        for name in SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latency.update(other.latency)


def floor_to(instant: datetime, step_s: int) -> datetime:
    """Say when the step that an instant lies in begins, counted from 1970 in UTC."""
    return instant - (instant - _EPOCH) % timedelta(seconds=step_s)


def fold(records: Iterable[UsageRecord]) -> dict[Slot, Sums]:
    """Sum calls up, over every step."""
    finest: dict[tuple[int, UsageKey], Sums] = {}
    for record in records:
        place = int(record.ended_at.timestamp() // STEPS_S[0]), record.key
        sums = finest.get(place)
        if sums is None:
            sums = finest[place] = Sums()
        sums.add(record)
    folded: dict[Slot, Sums] = {}
    for (number, key), sums in finest.items():
        begins_at = _EPOCH + timedelta(seconds=number * STEPS_S[0])
        for step_s in STEPS_S:
            slot = Slot(step_s, floor_to(begins_at, step_s), key)
            folded.setdefault(slot, Sums()).merge(sums)
    return folded
