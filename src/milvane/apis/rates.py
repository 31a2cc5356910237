"""How often something may be asked for: one bucket of tokens for each, in this process."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from fastapi.params import Depends

from milvane.domain.errors import RateExceeded
from milvane.serving.callers import current_caller


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of requests in a time, for each tenant."""

    requests: int
    period_s: float = 1.0
    setting: str = "apis.strict_limits"
    """What turns it off."""

    def __str__(self) -> str:
        if self.period_s == 1:
            return f"{self.requests} requests per second"
        return f"{self.requests} requests in {self.period_s:.0f} seconds"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


class RateLimiter:
    """
    Holds callers to rates.

    A bucket holds what one period allows and fills evenly, so a burst of a whole period's requests
    passes, and over any time no more than the rate and one period's worth.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """
        Start with full buckets.

        Args:
            clock: Says the time in seconds; never goes back.
        """
        self._clock = clock
        self._buckets: dict[Hashable, _Bucket] = {}

    def admit(self, what: str, rate: Rate) -> None:
        """
        Let one request of the caller pass.

        Args:
            what: What is asked for; each has a rate of its own.

            rate: How often that may be.

        Raises:
            RateExceeded: If the rate is used up; it says when to come back.
        """
        now_s = self._clock()
        per_s = rate.requests / rate.period_s
        key = (current_caller().tenant, what)
        bucket = self._buckets.setdefault(key, _Bucket(rate.requests, now_s))
        earned = (now_s - bucket.filled_at_s) * per_s
        bucket.tokens = min(rate.requests, bucket.tokens + earned)
        bucket.filled_at_s = now_s
        if bucket.tokens < 1:
            raise RateExceeded(
                f"{what} takes {rate}; {rate.setting} turns this off",
                retry_after_s=(1 - bucket.tokens) / per_s,
            )
        bucket.tokens -= 1


class StrictRates:
    """The published rates of files, batches and tasks, where published limits are kept to."""

    def __init__(self, clock: Callable[[], float], *, is_on: bool) -> None:
        self._limiter = RateLimiter(clock) if is_on else None

    @property
    def are_kept(self) -> bool:
        """Published limits hold."""
        return self._limiter is not None

    def admit(self, what: str, rate: Rate) -> None:
        """Let one request of the caller pass; raises `RateExceeded` if it comes too soon."""
        if self._limiter is not None:
            self._limiter.admit(what, rate)

    def held_to(self, what: str, rate: Rate) -> list[Depends]:
        """Make what routes depend on that are to keep a rate."""

        async def admit() -> None:
            self.admit(what, rate)

        return [Depends(admit)]
