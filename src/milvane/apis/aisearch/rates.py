"""How often a service may be called: one bucket of tokens for each, in this process."""

from collections.abc import Callable
from dataclasses import dataclass

from milvane.domain.errors import RateExceeded
from milvane.domain.models import Model, ModelName


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


class RateLimiter:
    """
    Holds each model to the requests per second of its contract.

    A bucket holds what one second allows and fills evenly, so a burst of a whole second's requests
    passes, and over any time no more than the rate and one second's worth.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """
        Start with full buckets.

        Args:
            clock: Says the time in seconds; never goes back.
        """
        self._clock = clock
        self._buckets: dict[ModelName, _Bucket] = {}

    def admit(self, model: Model) -> None:
        """
        Let one request pass.

        Raises:
            RateExceeded: If the model's rate is used up; it says when to come back.
        """
        rate = model.max_requests_per_s
        if rate is None:
            return
        now_s = self._clock()
        bucket = self._buckets.setdefault(model.name, _Bucket(rate, now_s))
        bucket.tokens = min(rate, bucket.tokens + (now_s - bucket.filled_at_s) * rate)
        bucket.filled_at_s = now_s
        if bucket.tokens < 1:
            raise RateExceeded(
                f"{model.name} takes {rate} requests per second; apis.limit_rates turns this off",
                retry_after_s=(1 - bucket.tokens) / rate,
            )
        bucket.tokens -= 1
