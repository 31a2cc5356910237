"""Keeps how every quota stands, in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from milvane.control_plane.quotas import Refusal, Standing, month_of
from milvane.domain.control import Quota, QuotaSubject
from milvane.domain.errors import QuotaExceeded

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Reservation:
    """What a running request holds; settled once."""

    standings: Sequence[Standing]
    tokens: int
    is_open: bool = True

    def settle(self, used_tokens: int) -> None:
        """End the request, with what it really used."""
        if self.is_open:
            self.is_open = False
            for standing in self.standings:
                standing.settle(self.tokens, used_tokens)


class QuotaKeeper:
    """Reserves and settles."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._standings: dict[QuotaSubject, Standing] = {}

    @property
    def standings(self) -> Mapping[QuotaSubject, Standing]:
        """How each subject that has a quota stands."""
        return self._standings

    def set_quotas(self, quotas: Sequence[Quota]) -> None:
        """Take new limits; who has the same as before goes on where it stands."""
        now = self._clock()
        new = {}
        for quota in quotas:
            standing = self._standings.get(quota.subject)
            if standing is None:
                standing = Standing.begin(quota, now)
            elif standing.quota != quota:
                fresh = Standing.begin(quota, now)
                # Running requests settle on the old one; the month goes on.
                standing = replace(
                    fresh,
                    earlier_tokens=standing.earlier_tokens + standing.settled_tokens,
                )
            new[quota.subject] = standing
        self._standings = new

    def reserve(self, subjects: Sequence[QuotaSubject], tokens: int) -> Reservation:
        """
        Reserve a request's tokens with all that it is counted on, or with none.

        Raises:
            QuotaExceeded: If it does not fit one of them.
        """
        now = self._clock()
        standings = [self._standings[each] for each in subjects if each in self._standings]
        for standing in standings:
            refusal = standing.check(tokens, now)
            if refusal is not None:
                self._refuse(standing, refusal)
        for standing in standings:
            standing.take(tokens)
        return Reservation(standings, tokens)

    def catch_up(
        self,
        ledger_tokens: Mapping[QuotaSubject, int],
        settled_before: Mapping[QuotaSubject, int],
        asked_at: datetime,
    ) -> None:
        """Take over the month's sums; `settled_before` is `settled` when they were asked for."""
        for subject, standing in self._standings.items():
            if subject in settled_before:
                standing.catch_up(
                    ledger_tokens.get(subject, 0), settled_before[subject], month_of(asked_at)
                )

    def month_shares(self) -> Mapping[str, float]:
        """Say how full each month's quota of tokens is, by its kind and name: ``tenant:north``."""
        month = month_of(self._clock())
        return {
            f"{subject.kind.value}:{subject.name}": (
                standing.month_tokens / monthly if standing.month == month else 0.0
            )
            for subject, standing in self._standings.items()
            if (monthly := standing.quota.tokens_per_month) is not None
        }

    def settled(self) -> dict[QuotaSubject, int]:
        """Tell what each subject has settled here since the last `catch_up`."""
        return {subject: each.settled_tokens for subject, each in self._standings.items()}

    def _refuse(self, standing: Standing, refusal: Refusal) -> None:
        subject = standing.quota.subject
        named = f"{subject.kind.value} {subject.name}"
        if standing.quota.is_shadow:
            standing.would_refuse += 1
            LOG.info("quota in shadow mode would refuse: %s of %s", refusal.limit, named)
            return
        raise QuotaExceeded(
            f"{refusal.limit} of {named} is {refusal.allowed}, and spent; "
            f"try again in {refusal.retry_after_s:.0f} s",
            retry_after_s=max(1.0, refusal.retry_after_s),
        )
