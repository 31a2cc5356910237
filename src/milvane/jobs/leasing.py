"""
Who runs a job. Pure: what is decided here is decided again by the database, in the same words.

A lease is a promise for a while. Its number grows with every holder; what a former holder still
wants to record carries an old number and is refused, however late it wakes up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from milvane.domain.jobs import JobId


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job."""

    job_id: JobId
    owner: str
    """Who holds it: another name for each process, also after a restart."""
    number: int


def is_free(lease_until: datetime | None, now: datetime) -> bool:
    """Say whether a job may be taken: nobody holds it, or whoever did has been silent too long."""
    return lease_until is None or lease_until <= now


def lease_end(now: datetime, lease_s: float) -> datetime:
    """Say until when a lease that is taken or renewed now holds."""
    return now + timedelta(seconds=lease_s)


def renewal_interval_s(lease_s: float) -> float:
    """Say how often to renew, so that two renewals may fail; at least once a second."""
    return min(1.0, lease_s / 3)
