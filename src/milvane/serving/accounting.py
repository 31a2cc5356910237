"""
What every embedding call goes through: may it be made, does it fit the quotas, what did it use.

The order is that of `Accounts.call`: reserve, compute, settle, record. The record is durable before
the caller has the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from milvane.domain.callers import Caller
from milvane.domain.errors import ErrorKind, ServiceError
from milvane.domain.usage import Outcome, UsageKey, UsageRecord
from milvane.serving.callers import current_caller, current_origin

LOCAL = "local"
"""Who computes where no remote provider does."""

_REFUSALS = frozenset(
    {
        ErrorKind.INVALID_INPUT,
        ErrorKind.NOT_FOUND,
        ErrorKind.CONFLICT,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.PERMISSION_DENIED,
        ErrorKind.QUOTA_EXCEEDED,
        ErrorKind.MEDIA_REJECTED,
    }
)
"""Failures that are not the service's."""


class Reservation(Protocol):
    """What a running call holds of its quotas."""

    def settle(self, used_tokens: int) -> None:
        """End the call, with what it really used."""


class Governor(Protocol):
    """Knows what is offered to whom."""

    def check_service(self, model: str, instance: str) -> None:
        """
        Let a model be used; by an instance, if one is named.

        Raises:
            PermissionDenied: If it may not be.
        """

    def reserve(self, caller: Caller, instance: str, model: str, tokens: int) -> Reservation:
        """
        Reserve what a call is about to use.

        Raises:
            QuotaExceeded: If a quota that it is counted on is spent.
        """


class UsageSink(Protocol):
    """Takes records of usage."""

    def record(self, record: UsageRecord) -> None:
        """
        Take a record; from now on the death of the process does not lose it.

        Raises:
            UpstreamUnavailable: If it cannot be taken.
        """


@dataclass(slots=True)
class Account:
    """A running call's: what it has used so far."""

    inputs: int
    tokens: int
    cached_tokens: int = 0
    images: int = 0


class Accounts:
    """Keeps the books of the embedding use case."""

    def __init__(self, governor: Governor, sink: UsageSink) -> None:
        self._governor = governor
        self._sink = sink

    def check_service(self, model: str) -> None:
        """
        Let the present call use a model.

        Raises:
            PermissionDenied: If it may not.
        """
        self._governor.check_service(model, current_origin().instance)

    @contextmanager
    def call(
        self, model: str, *, inputs: int, tokens: int, provider: str = LOCAL
    ) -> Iterator[Account]:
        """
        Account for a call while the context is open.

        Args:
            model: The name that it asks for.

            inputs: How many contents it has.

            tokens: Of all of them, as usage counts.

            provider: Who computes.

        Yields:
            Where to say what is only known afterwards.

        Raises:
            QuotaExceeded: If it does not fit; nothing was computed.
            UpstreamUnavailable: If usage cannot be recorded.
        """
        began_s = time.perf_counter()
        account, used = Account(inputs, tokens), 0
        outcome, error = Outcome.SUCCESS, ""
        reservation: Reservation | None = None
        try:
            reservation = self._governor.reserve(
                current_caller(), current_origin().instance, model, tokens
            )
            yield account
            used = account.tokens
        except BaseException as failure:
            outcome, error = judge(failure)
            account.tokens = account.cached_tokens = account.images = 0
            raise
        finally:
            if reservation is not None:
                reservation.settle(used)
            self._record(model, provider, account, outcome, error, time.perf_counter() - began_s)

    @contextmanager
    def refusals(self, model: str, *, provider: str = LOCAL) -> Iterator[None]:
        """Record what fails in the context as a call that came to nothing."""
        began_s = time.perf_counter()
        try:
            yield
        except ServiceError as failure:
            outcome, error = judge(failure)
            elapsed_s = time.perf_counter() - began_s
            self._record(model, provider, Account(0, 0), outcome, error, elapsed_s)
            raise

    def _record(
        self,
        model: str,
        provider: str,
        account: Account,
        outcome: Outcome,
        error: str,
        duration_s: float,
    ) -> None:
        caller, origin = current_caller(), current_origin()
        self._sink.record(
            UsageRecord(
                key=UsageKey(
                    model=model,
                    provider=provider,
                    instance=origin.instance,
                    operation=origin.operation,
                    tenant=caller.tenant,
                    caller=caller.name,
                ),
                ended_at=datetime.now(timezone.utc),
                duration_s=duration_s,
                outcome=outcome,
                error=error,
                inputs=account.inputs,
                tokens=account.tokens,
                cached_tokens=account.cached_tokens,
                images=account.images,
            )
        )


def judge(failure: BaseException) -> tuple[Outcome, str]:
    """Say whose doing a failure is, and name its kind."""
    if isinstance(failure, ServiceError):
        refused = failure.kind in _REFUSALS
        return (Outcome.REFUSED if refused else Outcome.FAILED), failure.kind.value
    if isinstance(failure, asyncio.CancelledError):
        return Outcome.REFUSED, "cancelled"  # the caller has left
    return Outcome.FAILED, ErrorKind.INTERNAL.value


class _Nothing:
    def settle(self, used_tokens: int) -> None:
        """Hold nothing."""


class _Unlimited:
    def check_service(self, model: str, instance: str) -> None:
        """Offer everything to everyone."""

    def reserve(self, caller: Caller, instance: str, model: str, tokens: int) -> Reservation:  # noqa: ARG002
        """Have no quotas."""
        return _Nothing()


class _Forgetful:
    def record(self, record: UsageRecord) -> None:
        """Keep nothing."""


NO_ACCOUNTS = Accounts(_Unlimited(), _Forgetful())
"""Offers everything, limits nothing, records nothing."""
