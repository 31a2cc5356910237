"""What to do about a collection whose files are not as they should be. Pure; see `repair_files`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milvane.instances.lite.audit import Account, Difference, Evidence, compare

Numbers = NDArray[np.int64]


class Action(Enum):
    """One way to change files."""

    SET_ASIDE = "move aside"
    REMOVE = "remove"
    REWRITE_LOG = "rewrite the log"
    DROP_ROWS = "drop doubled rows"
    ADOPT = "take back"
    FORGET = "forget"
    RENEW_MANIFEST = "write the manifest anew"
    ACCEPT = "accept the loss"


@dataclass(frozen=True, slots=True)
class Step:
    """One change, and why."""

    action: Action
    path: Path
    reason: str
    needs_consent: bool = False
    """It gives something up for good."""
    partition: str = ""
    numbers: tuple[int, ...] = ()
    """Sequence numbers of the rows that it is about."""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """A log that Milvus Lite will read."""

    path: Path
    is_torn: bool
    numbers: Numbers
    """Sequence numbers of its rows, to the last whole write."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file of a partition, that the manifest names or does not."""

    partition: str
    path: Path
    is_named: bool
    is_data: bool
    """Rows; else deletions."""
    numbers: Numbers | None
    """Sequence numbers of its rows; none if it is missing or cannot be read."""
    span: tuple[int, int]
    """The lowest and highest sequence number that its name has."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was seen of one collection."""

    folder: Path
    evidence: Evidence | None
    """None of a folder without a schema, which Milvus Lite does not see."""
    account: Account | None = None
    leftover_logs: tuple[Path, ...] = ()
    logs: tuple[LogFacts, ...] = ()
    files: tuple[FileFacts, ...] = ()
    drafts: tuple[Path, ...] = ()
    bad_indexes: tuple[Path, ...] = field(default=())
    """Torn, or of segments that are not there."""


_GIVES_UP = frozenset(
    {Difference.LOST, Difference.LOST_EARLIER, Difference.MISCOUNTED, Difference.UNREADABLE}
)


def plan_repair(facts: Facts) -> list[Step]:
    """
    Say what to do, in this order.

    Args:
        facts: What was seen.

    Returns:
        Nothing if all is well. A start of the server does some of it by itself; here nothing is
        changed that is not named.
    """
    if facts.evidence is None:
        reason = "it has no schema, and stands in the way of a collection of its name"
        return [Step(Action.SET_ASIDE, facts.folder, reason)]
    steps = [
        Step(Action.REMOVE, path, "a file that was being written when a process died")
        for path in facts.drafts
    ]
    steps += [
        Step(Action.REMOVE, path, "its rows are in segments already")
        for path in facts.leftover_logs
    ]
    steps += _plan_logs(facts.logs, facts.evidence)
    steps += _plan_files(facts, facts.evidence)
    steps += _plan_doubled([each for each in facts.files if each.is_named and each.is_data])
    steps += [
        Step(Action.REMOVE, path, "the index is torn or belongs to nothing; it is built again")
        for path in facts.bad_indexes
    ]
    return steps


def plan_acceptance(account: Account | None, evidence: Evidence, folder: Path) -> list[Step]:
    """
    Say whether a loss is left that only a person can accept.

    Args:
        account: As it was.

        evidence: As it is after all repairs.

        folder: The collection's.
    """
    left = [each for each in compare(account, evidence) if each.difference in _GIVES_UP]
    if not left:
        return []
    reason = "; ".join(each.message.partition(": ")[2].partition(": ")[0] for each in left)
    return [Step(Action.ACCEPT, folder, reason, needs_consent=True)]


def _plan_logs(logs: Sequence[LogFacts], evidence: Evidence) -> Iterator[Step]:
    for log in logs:
        stale = log.numbers[log.numbers <= evidence.committed_seq]
        reasons = []
        if log.is_torn:
            reasons.append("what follows its last whole write was never acknowledged")
        if stale.size:
            reasons.append(f"{stale.size} of its rows are in segments already")
        if reasons:
            numbers = tuple(stale.tolist())
            yield Step(Action.REWRITE_LOG, log.path, "; ".join(reasons), numbers=numbers)


def _plan_files(facts: Facts, evidence: Evidence) -> list[Step]:
    adopted = [each for each in facts.files if _is_wanted(each, facts, evidence)]
    steps = [
        Step(
            Action.ADOPT,
            each.path,
            "it holds acknowledged rows, and the manifest that named it is gone",
            partition=each.partition,
            numbers=each.span,
        )
        for each in adopted
    ]
    for each in facts.files:
        if each.is_named and each.numbers is None:
            is_covered = any(_covers(other, each) for other in adopted)
            steps.append(
                Step(
                    Action.FORGET,
                    each.path,
                    "it was merged into another" if is_covered else "it is missing or torn",
                    needs_consent=not is_covered,
                    partition=each.partition,
                )
            )
    # Without any manifest nobody knows what is what: an empty one would have all files removed.
    if evidence.is_fallback and evidence.manifest_version and not steps:
        manifest = facts.folder / "manifest.json"
        steps.append(Step(Action.RENEW_MANIFEST, manifest, "it cannot be read"))
    return steps


def _is_wanted(file: FileFacts, facts: Facts, evidence: Evidence) -> bool:
    """Say whether a file that the manifest does not name holds what is missed elsewhere."""
    if file.is_named or file.numbers is None or file.numbers.size == 0:
        return False
    missing = [each for each in facts.files if each.is_named and each.numbers is None]
    if any(_covers(file, each) for each in missing):
        return True
    if facts.account is None:
        return False
    logged = np.concatenate([evidence.logged_rows, evidence.logged_tombstones])
    return bool(
        file.numbers.min() > evidence.committed_seq
        and file.numbers.max() <= facts.account.acknowledged_seq
        and not np.isin(file.numbers, logged).any()
    )


def _covers(file: FileFacts, other: FileFacts) -> bool:
    return (
        not file.is_named
        and file.numbers is not None
        and (file.partition, file.is_data) == (other.partition, other.is_data)
        and file.span[0] <= other.span[0]
        and file.span[1] >= other.span[1]
    )


def _plan_doubled(files: Sequence[FileFacts]) -> Iterator[Step]:
    seen = np.zeros(0, dtype=np.int64)
    for each in files:
        if each.numbers is None:
            continue
        doubled = np.unique(each.numbers[np.isin(each.numbers, seen)])
        if doubled.size == each.numbers.size and doubled.size:
            reason = "all of its rows are in other segments too"
            yield Step(Action.FORGET, each.path, reason, partition=each.partition)
        elif doubled.size:
            yield Step(
                Action.DROP_ROWS,
                each.path,
                f"{doubled.size} of its rows are in another segment too",
                partition=each.partition,
                numbers=tuple(doubled.tolist()),
            )
        seen = np.concatenate([seen, each.numbers])
