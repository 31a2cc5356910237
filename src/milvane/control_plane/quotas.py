"""
Whether a request fits the quotas of those that it is counted on. Pure: time is handed in.

Limits per minute are token buckets: they hold a minute's worth and fill steadily, so that a pause
may be made up for, once. Limits per calendar month are sums, in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from milvane.domain.control import Quota

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request does not fit."""

    limit: str
    """Name of the limit."""
    allowed: int
    retry_after_s: float


@dataclass(slots=True)
class Bucket:
    """What is left of a limit per minute."""

    level: float
    at_s: float

    def fill(self, per_minute: int, now_s: float) -> None:
        """Let time pass; the level never exceeds a minute's worth."""
        elapsed_s = max(0.0, now_s - self.at_s)
        self.level = min(float(per_minute), self.level + elapsed_s * per_minute / _MINUTE_S)
        self.at_s = now_s

    def wait_s(self, wanted: float, per_minute: int) -> float:
        """Say how long until so much is there."""
        return max(0.0, (wanted - self.level) * _MINUTE_S / per_minute)


@dataclass(slots=True)
class Standing:
    """How one subject stands against its quota."""

    quota: Quota
    requests: Bucket
    tokens: Bucket
    month: tuple[int, int]
    earlier_tokens: int = 0
    """Of this month, as the ledger told them at the last `catch_up`."""
    settled_tokens: int = 0
    """Used here since then."""
    reserved_tokens: int = 0
    running: int = 0
    would_refuse: int = 0
    """Requests that a quota in shadow mode would have refused."""

    @classmethod
    def begin(cls, quota: Quota, now: datetime) -> Standing:
        """Begin with full buckets."""
        now_s = now.timestamp()
        return cls(
            quota,
            Bucket(float(quota.requests_per_minute or 0), now_s),
            Bucket(float(quota.tokens_per_minute or 0), now_s),
            month_of(now),
        )

    @property
    def month_tokens(self) -> int:
        """Used and reserved this month."""
        return self.earlier_tokens + self.settled_tokens + self.reserved_tokens

    def check(self, tokens: int, now: datetime) -> Refusal | None:
        """Say why a request does not fit, if it does not; nothing is taken yet."""
        self._advance(now)
        quota = self.quota
        if quota.concurrent_requests is not None and self.running >= quota.concurrent_requests:
            return Refusal("concurrent_requests", quota.concurrent_requests, 1.0)
        per_minute = (
            ("requests_per_minute", quota.requests_per_minute, self.requests, 1.0),
            ("tokens_per_minute", quota.tokens_per_minute, self.tokens, float(tokens)),
        )
        for name, limit, bucket, wanted in per_minute:
            # More than a minute's worth at once waits for a full bucket, and leaves it in debt.
            if limit is not None and bucket.level < min(wanted, limit):
                return Refusal(name, limit, bucket.wait_s(min(wanted, limit), limit))
        monthly = quota.tokens_per_month
        if monthly is not None and self.month_tokens + tokens > monthly:
            return Refusal("tokens_per_month", monthly, seconds_to_next_month(now))
        return None

    def take(self, tokens: int) -> None:
        """Reserve what a request needs."""
        self.requests.level -= 1
        self.tokens.level -= tokens
        self.reserved_tokens += tokens
        self.running += 1

    def settle(self, reserved: int, used: int) -> None:
        """End a request: what was reserved and not used is given back."""
        self.tokens.level += reserved - used
        self.reserved_tokens -= reserved
        self.settled_tokens += used
        self.running -= 1

    def catch_up(self, ledger_tokens: int, settled_before: int, month: tuple[int, int]) -> None:
        """
        Take over what the ledger says of this month, other servers' use included.

        Args:
            ledger_tokens: The ledger's sum.

            settled_before: `settled_tokens` when that sum was asked for: it has these already.

            month: Which month the sum is of.
        """
        if month == self.month:
            self.earlier_tokens = ledger_tokens
            self.settled_tokens -= settled_before

    def _advance(self, now: datetime) -> None:
        if self.quota.requests_per_minute is not None:
            self.requests.fill(self.quota.requests_per_minute, now.timestamp())
        if self.quota.tokens_per_minute is not None:
            self.tokens.fill(self.quota.tokens_per_minute, now.timestamp())
        if month_of(now) != self.month:
            # What is still running is settled in the month that it ends in.
            self.month, self.earlier_tokens, self.settled_tokens = month_of(now), 0, 0


def month_of(now: datetime) -> tuple[int, int]:
    """Say which calendar month it is, in UTC."""
    utc = now.astimezone(timezone.utc)
    return utc.year, utc.month


def begin_of_month(now: datetime) -> datetime:
    """Say when the calendar month began, in UTC."""
    return datetime(*month_of(now), 1, tzinfo=timezone.utc)


def seconds_to_next_month(now: datetime) -> float:
    """Say how long until the next calendar month, in UTC."""
    year, month = month_of(now)
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=timezone.utc)
    return (following - now).total_seconds()
