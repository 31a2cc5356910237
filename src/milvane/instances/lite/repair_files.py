"""Looks at the files of a data directory for `repair`, and changes them as planned."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from milvane.domain.errors import Conflict
from milvane.instances.lite.audit import open_account
from milvane.instances.lite.audit_files import (
    MANIFESTS,
    Examined,
    find_collections,
    needed_logs,
    read_batches,
    read_evidence,
    read_manifest,
    read_segment_seqs,
)
from milvane.instances.lite.audit_ledger import Ledger, read_account
from milvane.instances.lite.journal import CollectionKey
from milvane.instances.lite.recovery import SIDE_FOLDER, parse_log_name, read_log
from milvane.instances.lite.repair import (
    Action,
    Facts,
    FileFacts,
    LogFacts,
    Step,
    plan_acceptance,
    plan_repair,
)

LITE_LOCK = "LOCK"
_OURS = "milvane.lock"
_GRAPHS = frozenset({"hnsw", "hnsw_sq", "ivf_flat", "ivf_sq8"})
"""Index types whose files one library reads."""


@dataclass(slots=True)
class Outcome:
    """What was planned, and what became of it."""

    planned: list[Step] = field(default_factory=list)
    left: list[Step] = field(default_factory=list)
    """Not done: nobody has consented."""
    backup: Path | None = None
    """Where copies of all that was changed are."""


def plan_directory(data_dir: Path, *, reads_indexes: bool = True) -> list[Step]:
    """
    Say what a repair would do to files; changes nothing.

    What of a loss is left to be accepted shows only after the repair.

    Args:
        data_dir: Not being written to.

        reads_indexes: Whether index files are loaded, to see whether they are torn: as long and as
            much memory as a start takes.
    """
    seen = look(data_dir, reads_indexes=reads_indexes)
    return [step for facts in seen for step in plan_repair(facts)]


def repair_directory(data_dir: Path, *, has_consent: bool) -> Outcome:
    """
    Repair what can be repaired, and keep a copy of all that is changed.

    Args:
        data_dir: No server may run on it.

        has_consent: Somebody accepts that what is lost is lost.

    Raises:
        Conflict: If a server runs on it.
    """
    outcome = Outcome()
    with _locked(data_dir):
        copies = _Copies(data_dir)
        for facts in look(data_dir):
            for step in plan_repair(facts):
                _carry_out(step, facts, copies, outcome, has_consent=has_consent)
            if facts.evidence is not None:
                key = facts.evidence.key
                for step in plan_acceptance(
                    facts.account, read_evidence(key, facts.folder), facts.folder
                ):
                    _carry_out(step, facts, copies, outcome, has_consent=has_consent)
        outcome.backup = copies.folder if copies.folder.exists() else None
    return outcome


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    lock = FileLock(data_dir / _OURS)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise Conflict(f"a server runs on {data_dir}: stop it first") from error
    with lock, (data_dir / LITE_LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"a Milvus Lite runs on {data_dir}: stop it first") from error
        yield
    lock.release()


class _Copies:
    """Keeps what is changed, under a folder named after the time."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        self.folder = data_dir / SIDE_FOLDER / now

    def keep(self, path: Path) -> None:
        """Copy a file, unless it was copied before."""
        target = self.folder / path.relative_to(self._data_dir)
        if path.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)

    def take(self, folder: Path) -> None:
        """Move a folder."""
        target = self.folder / folder.relative_to(self._data_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)


def keep_unnamed_files(data_dir: Path, examined: Iterable[Examined]) -> Path | None:
    """
    Copy the files that manifests do not name, of collections that miss something.

    Milvus Lite removes such files when it opens a collection; they may hold what is missing.

    Returns:
        Where they are; none if there are none.
    """
    copies = _Copies(data_dir)
    for each in examined:
        if each.findings:
            manifest, _ = read_manifest(each.folder)
            for file in _files(each.folder, manifest):
                if not file.is_named:
                    copies.keep(file.path)
            for name in MANIFESTS:
                if copies.folder.exists():
                    copies.keep(each.folder / name)
    return copies.folder if copies.folder.exists() else None


def look(data_dir: Path, *, reads_indexes: bool = True) -> Iterator[Facts]:
    """Read what `repair` decides on, collection by collection; see `plan_directory`."""
    known = find_collections(data_dir)
    folders = {folder for _, folder in known}
    for root in (data_dir, *sorted((data_dir / "databases").glob("*"))):
        for folder in sorted((root / "collections").glob("*")):
            if folder.is_dir() and folder not in folders:
                yield Facts(folder, None)
    for key, folder in known:
        yield _facts(key, folder, reads_indexes=reads_indexes)


def _facts(key: CollectionKey, folder: Path, *, reads_indexes: bool) -> Facts:
    manifest, _ = read_manifest(folder)
    needed = [log.path for log in needed_logs(folder, manifest)]
    logs = sorted(path for path in (folder / "wal").glob("*") if parse_log_name(path))
    files = tuple(_files(folder, manifest))
    stems = {each.path.stem for each in files if each.is_named and each.numbers is not None}
    return Facts(
        folder=folder,
        evidence=read_evidence(key, folder),
        account=read_account(folder),
        leftover_logs=tuple(path for path in logs if path not in needed),
        logs=tuple(LogFacts(path, read_log(path).is_torn, _numbers(path)) for path in needed),
        files=files,
        drafts=tuple(
            path for path in sorted(folder.rglob("*.tmp")) if path.name != "manifest.json"
        ),
        bad_indexes=tuple(
            path
            for path in sorted(folder.glob("partitions/*/indexes/*.idx"))
            if path.name.partition(".")[0] not in stems or (reads_indexes and _is_torn_index(path))
        ),
    )


def _files(folder: Path, manifest: dict[str, Any]) -> Iterator[FileFacts]:
    for partition, named in manifest["partitions"].items():
        root = folder / "partitions" / partition
        for kind, is_data in (("data", True), ("delta", False)):
            listed = [root / path for path in named.get(f"{kind}_files", ())]
            others = [path for path in sorted(root.glob(f"{kind}/*.parquet")) if path not in listed]
            for path in (*listed, *others):
                numbers = read_segment_seqs(path)
                span = _span(path)
                if span is not None:
                    yield FileFacts(partition, path, path in listed, is_data, numbers, span)


def _span(path: Path) -> tuple[int, int] | None:
    parts = path.stem.split("_")
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    return int(parts[1]), int(parts[2])


def _numbers(log: Path) -> Any:
    numbers = [batch.column("_seq").to_numpy().astype(np.int64) for batch in read_batches(log)]
    return np.concatenate([np.zeros(0, dtype=np.int64), *numbers])


def _is_torn_index(path: Path) -> bool:
    if path.suffixes[-2].lstrip(".") not in _GRAPHS:
        return False
    import faiss  # loads for a second, which only a repair has

    try:
        faiss.read_index(str(path))
    except RuntimeError:
        return True
    return False


def _carry_out(
    step: Step, facts: Facts, copies: _Copies, outcome: Outcome, *, has_consent: bool
) -> None:
    outcome.planned.append(step)
    if step.needs_consent and not has_consent:
        outcome.left.append(step)
        return
    if step.action is Action.SET_ASIDE:
        copies.take(step.path)
        return
    copies.keep(step.path)
    if step.action is Action.REMOVE:
        step.path.unlink()
    elif step.action is Action.REWRITE_LOG:
        _rewrite_log(step)
    elif step.action is Action.DROP_ROWS:
        _drop_rows(step, copies)
        _change_manifest(step, facts.folder, copies)
    elif step.action is Action.ACCEPT and facts.evidence is not None:
        evidence = read_evidence(facts.evidence.key, facts.folder)
        Ledger(facts.folder, open_account(None, evidence))
    else:
        _change_manifest(step, facts.folder, copies)


def _rewrite_log(step: Step) -> None:
    batches = read_batches(step.path)
    draft = step.path.with_suffix(".tmp")
    kept = [_without(batch, step.numbers) for batch in batches]
    if not batches:
        step.path.unlink()
        return
    with draft.open("wb") as file:
        with pa.ipc.new_stream(file, batches[0].schema) as writer:
            for batch in kept:
                if batch.num_rows:
                    writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(step.path)


def _drop_rows(step: Step, copies: _Copies) -> None:
    with pq.ParquetFile(step.path) as file:
        rows = file.read()
    draft = step.path.with_suffix(".tmp")
    pq.write_table(_without(rows, step.numbers), draft)
    draft.replace(step.path)
    for index in step.path.parent.parent.glob(f"indexes/{step.path.stem}.*"):
        copies.keep(index)
        index.unlink()


def _without(rows: Any, numbers: tuple[int, ...]) -> Any:
    column = rows.column("_seq")
    return rows.filter(pc.invert(pc.is_in(column, pa.array(numbers, column.type))))


def _change_manifest(step: Step, folder: Path, copies: _Copies) -> None:
    for name in MANIFESTS:
        copies.keep(folder / name)
    manifest, _ = read_manifest(folder)
    if step.action in {Action.ADOPT, Action.FORGET}:
        kind = step.path.parent.name
        named = manifest["partitions"][step.partition][f"{kind}_files"]
        path = f"{kind}/{step.path.name}"
        if step.action is Action.ADOPT:
            named.append(path)
            manifest["current_seq"] = max(manifest["current_seq"], *step.numbers)
        else:
            named.remove(path)
            step.path.unlink(missing_ok=True)
    manifest["version"] = manifest.get("version", 0) + 1
    draft = folder / "manifest.json.tmp"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2, sort_keys=True, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / "manifest.json")
