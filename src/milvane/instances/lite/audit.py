"""
Whether a collection's files hold what was acknowledged. Pure: files are read by `audit_files`.

Every row, and every batch of deletions, has a sequence number of its own, given in order by the one
writer that a collection has. Whatever has a number up to the manifest's is in segments (or was
replaced); whatever has a higher one is in the log. So it is enough to count what was acknowledged
since the last move to disk, and to look for it in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from milvane.instances.lite.journal import CollectionKey


@dataclass(frozen=True, slots=True)
class Account:
    """What a collection must hold: written down before each acknowledgement."""

    base_seq: int = 0
    """Everything up to this sequence number was in segments when counting began."""
    acknowledged_seq: int = 0
    """The highest sequence number that was acknowledged."""
    rows: int = 0
    """Rows acknowledged with higher numbers than the base."""
    tombstones: int = 0
    """Deleted keys acknowledged with higher numbers than the base."""
    manifest_version: int = 0
    """The manifest that `segment_rows` belongs to."""
    segment_rows: int = 0
    lost: int = 0
    """Rows and deletions that were found missing at an earlier start, and not accepted since."""


@dataclass(frozen=True, slots=True)
class SegmentState:
    """A segment that the manifest names."""

    partition: str
    path: str
    """Within the partition."""
    rows: int | None
    """None if the file is missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a collection's files hold."""

    key: CollectionKey
    manifest_version: int
    committed_seq: int
    """Everything up to this sequence number is in segments, says the manifest."""
    segments: tuple[SegmentState, ...]
    doubled: int
    """Rows of segments that another row has the sequence number of."""
    logged_rows: NDArray[np.int64]
    """Sequence numbers of the rows in logs that will be read; one for each row."""
    logged_tombstones: NDArray[np.int64]
    """The same of deleted keys."""
    is_fallback: bool = False
    """The manifest cannot be read; the one before it is what counts."""


class Difference(Enum):
    """In what way files differ from what they should hold."""

    LOST = "lost"
    LOST_EARLIER = "lost earlier"
    DOUBLED = "doubled"
    STALE = "stale"
    UNREADABLE = "unreadable"
    MISCOUNTED = "miscounted"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, in numbers and in words."""

    difference: Difference
    key: CollectionKey
    count: int
    """How many rows (and deletions) it is about."""
    message: str
    """Names the collection, the numbers, and what to do."""


_REPAIR = "stop the server and run `milvane doctor --repair`"
_RESTORE = (
    "restore a backup, or write the rows again; `milvane doctor --repair --yes` accepts the loss"
)


def compare(account: Account | None, evidence: Evidence) -> list[Finding]:
    """
    Say what differs between what was acknowledged and what there is.

    Args:
        account: None if nothing was written down yet.

        evidence: What the files hold.

    Returns:
        Nothing if all is well. More than was acknowledged is well: a write may have been done, and
        its caller have gone, before it was acknowledged.
    """
    findings = _look_at_files(evidence)
    if account is None:
        return findings
    lost = count_lost(account, evidence)
    if lost:
        findings.append(
            _finding(
                Difference.LOST,
                evidence,
                lost,
                f"{lost} acknowledged rows or deletions are missing (numbers up to "
                f"{account.acknowledged_seq} were acknowledged, {_highest(evidence)} is the "
                f"highest there is): {_RESTORE}",
            )
        )
    if account.lost:
        findings.append(
            _finding(
                Difference.LOST_EARLIER,
                evidence,
                account.lost,
                f"{account.lost} acknowledged rows or deletions were missing at an earlier start: "
                f"{_RESTORE}",
            )
        )
    return findings + _compare_segments(account, evidence)


def count_lost(account: Account, evidence: Evidence) -> int:
    """
    Count the rows and deletions that were acknowledged and are nowhere.

    A move to disk that the account did not hear of took everything along: it keeps writers out.
    """
    if evidence.committed_seq >= account.acknowledged_seq:
        return 0
    missing = max(0, account.base_seq - evidence.committed_seq)
    if evidence.committed_seq > account.base_seq:
        return account.acknowledged_seq - max(evidence.committed_seq, _highest(evidence))
    for expected, numbers in (
        (account.rows, evidence.logged_rows),
        (account.tombstones, evidence.logged_tombstones),
    ):
        found = (numbers > account.base_seq) & (numbers <= account.acknowledged_seq)
        missing += max(0, expected - int(found.sum()))
    # A write that failed half-way may be in the log, and make up for one that is not.
    return max(missing, int(account.acknowledged_seq > _highest(evidence)))


def open_account(before: Account | None, evidence: Evidence) -> Account:
    """
    Begin to count from what there is.

    Args:
        before: What should have been there; what is missing of it stays on the account.

        evidence: What there is, as Milvus Lite is about to read it.
    """
    rows = evidence.logged_rows[evidence.logged_rows > evidence.committed_seq]
    tombstones = evidence.logged_tombstones[evidence.logged_tombstones > evidence.committed_seq]
    return Account(
        base_seq=evidence.committed_seq,
        acknowledged_seq=max(evidence.committed_seq, _highest(evidence)),
        rows=rows.size,
        tombstones=tombstones.size,
        manifest_version=evidence.manifest_version,
        segment_rows=sum(segment.rows or 0 for segment in evidence.segments),
        lost=0 if before is None else before.lost + count_lost(before, evidence),
    )


def _look_at_files(evidence: Evidence) -> list[Finding]:
    findings = []
    if evidence.is_fallback:
        findings.append(
            _finding(
                Difference.FALLBACK,
                evidence,
                0,
                f"its manifest is not readable, and the one before it is used: {_REPAIR}"
                if evidence.manifest_version
                else f"it has no manifest that is readable: {_RESTORE}",
            )
        )
    findings += [
        _finding(
            Difference.UNREADABLE,
            evidence,
            0,
            f"the segment {segment.path} of partition {segment.partition} is missing or torn, and "
            f"its rows with it: {_RESTORE}",
        )
        for segment in evidence.segments
        if segment.rows is None
    ]
    if evidence.doubled:
        findings.append(
            _finding(
                Difference.DOUBLED,
                evidence,
                evidence.doubled,
                f"{evidence.doubled} rows are in segments twice: {_REPAIR}",
            )
        )
    stale = int((evidence.logged_rows <= evidence.committed_seq).sum())
    if stale:
        findings.append(
            _finding(
                Difference.STALE,
                evidence,
                stale,
                f"{stale} rows of its log are in segments already and would be there twice: "
                f"{_REPAIR}",
            )
        )
    return findings


def _compare_segments(account: Account, evidence: Evidence) -> list[Finding]:
    if account.manifest_version != evidence.manifest_version:
        return []
    if any(segment.rows is None for segment in evidence.segments):
        return []  # said already
    found = sum(segment.rows or 0 for segment in evidence.segments)
    if found == account.segment_rows:
        return []
    return [
        _finding(
            Difference.MISCOUNTED,
            evidence,
            abs(account.segment_rows - found),
            f"its segments hold {found} rows, and held {account.segment_rows} when they were last "
            f"changed: {_RESTORE}",
        )
    ]


def _highest(evidence: Evidence) -> int:
    logged = np.concatenate([evidence.logged_rows, evidence.logged_tombstones])
    return max(evidence.committed_seq, int(logged.max(initial=0)))


def _finding(difference: Difference, evidence: Evidence, count: int, message: str) -> Finding:
    return Finding(difference, evidence.key, count, f"collection {evidence.key}: {message}")
