"""
What may follow what in the life of a job. Pure: the clock is a number that is passed in.

::

    queued -> validating -> running -> finalizing -> completed
                 |             |
                 |             +-> expiring -> expired          (out of time)
                 +-> failed                                     (the file is wrong)
    queued, validating, running, finalizing -> cancelling -> cancelled
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType

from milvane.domain.errors import Conflict
from milvane.domain.jobs import JobState


class Step(Enum):
    """What whoever holds a job's lease does next."""

    BEGIN = "begin"
    VALIDATE = "validate"
    EMBED = "embed"
    """The next page of lines."""
    EXPIRE = "expire"
    """The next page of lines, each reported as not done."""
    FINISH = "finish"
    """Put the files together."""
    REST = "rest"
    """Nothing: the job has ended."""


FOLLOWERS: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset(
            {JobState.VALIDATING, JobState.EXPIRED, JobState.FAILED}
            | {JobState.CANCELLING, JobState.CANCELLED}
        ),
        JobState.VALIDATING: frozenset(
            {JobState.RUNNING, JobState.EXPIRED, JobState.FAILED, JobState.CANCELLING}
        ),
        JobState.RUNNING: frozenset(
            {JobState.FINALIZING, JobState.EXPIRING, JobState.FAILED, JobState.CANCELLING}
        ),
        JobState.FINALIZING: frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLING}),
        JobState.EXPIRING: frozenset({JobState.EXPIRED, JobState.FAILED}),
        JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.FAILED}),
        JobState.COMPLETED: frozenset(),
        JobState.FAILED: frozenset(),
        JobState.EXPIRED: frozenset(),
        JobState.CANCELLED: frozenset(),
    }
)

_STEPS: Mapping[JobState, Step] = MappingProxyType(
    {
        JobState.QUEUED: Step.BEGIN,
        JobState.VALIDATING: Step.VALIDATE,
        JobState.RUNNING: Step.EMBED,
        JobState.FINALIZING: Step.FINISH,
        JobState.EXPIRING: Step.EXPIRE,
        JobState.CANCELLING: Step.FINISH,
    }
)

_ENDS: Mapping[JobState, JobState] = MappingProxyType(
    {
        JobState.FINALIZING: JobState.COMPLETED,
        JobState.EXPIRING: JobState.EXPIRED,
        JobState.CANCELLING: JobState.CANCELLED,
    }
)


def next_step(state: JobState) -> Step:
    """Say what a job in this state needs."""
    return _STEPS.get(state, Step.REST)


def end_of(state: JobState) -> JobState:
    """
    Say how a job ends once its files are put together in this state.

    Raises:
        KeyError: If files are not put together in this state.
    """
    return _ENDS[state]


def overdue(state: JobState, *, expires_at: datetime, now: datetime) -> JobState:
    """
    Say what state a job is in, seen that time has passed.

    A job whose lines have been counted reports those that are left; one whose lines have not ends
    at once; one that has only its files to put together may still do so.
    """
    if now < expires_at:
        return state
    if state is JobState.RUNNING:
        return JobState.EXPIRING
    if state in (JobState.QUEUED, JobState.VALIDATING):
        return JobState.EXPIRED
    return state


def cancelled(state: JobState, *, only_queued: bool) -> JobState:
    """
    Say what state a job is in when its caller does not want it any more.

    Args:
        state: Where it is.

        only_queued: Leave it alone once it has begun.

    Raises:
        Conflict: If it cannot be cancelled any more.
    """
    if state is JobState.QUEUED and only_queued:
        return JobState.CANCELLED
    if only_queued or JobState.CANCELLING not in FOLLOWERS[state]:
        if state is JobState.CANCELLING and not only_queued:
            return state
        raise Conflict(f"it is {state.value} and can no longer be cancelled")
    return JobState.CANCELLING
