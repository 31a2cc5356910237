"""Reads from a collection's files what `audit` compares. Changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from milvane.instances.lite.audit import (
    Account,
    Difference,
    Evidence,
    Finding,
    SegmentState,
    compare,
)
from milvane.instances.lite.audit_ledger import read_account
from milvane.instances.lite.journal import CollectionKey
from milvane.instances.lite.recovery import (
    DEFAULT_DATABASE,
    LogFile,
    find_leftover_logs,
    parse_log_name,
)

MANIFESTS = ("manifest.json", "manifest.json.prev")
"""In the order in which Milvus Lite trusts them."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Examined:
    """One collection: what should be there, what is, and what differs."""

    folder: Path
    account: Account | None
    evidence: Evidence
    findings: tuple[Finding, ...]


def examine(data_dir: Path) -> dict[CollectionKey, Examined]:
    """
    Compare every collection of a directory with its account.

    Args:
        data_dir: Not being written to; need not exist.
    """
    examined = {}
    for key, folder in find_collections(data_dir):
        account, evidence = read_account(folder), read_evidence(key, folder)
        examined[key] = Examined(folder, account, evidence, tuple(compare(account, evidence)))
    return examined


def report(examined: Iterable[Examined]) -> None:
    """Say loudly what differs, with the numbers and what to do."""
    for each in examined:
        for finding in each.findings:
            level = logging.WARNING if finding.difference is Difference.STALE else logging.ERROR
            _logger.log(level, "%s", finding.message)


def find_collections(data_dir: Path) -> list[tuple[CollectionKey, Path]]:
    """List the collections that have a schema, of all databases."""
    databases = data_dir / "databases"
    named = sorted(databases.iterdir()) if databases.is_dir() else []
    roots = [(DEFAULT_DATABASE, data_dir), *((each.name, each) for each in named)]
    return [
        (CollectionKey(database, schema.parent.name), schema.parent)
        for database, root in roots
        for schema in sorted((root / "collections").glob("*/schema.json"))
    ]


def read_manifest(folder: Path) -> tuple[dict[str, Any], bool]:
    """
    Read the manifest that Milvus Lite will use.

    Returns:
        The manifest, and whether it is the one before the last.
    """
    for name in MANIFESTS:
        try:
            manifest = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(manifest, dict) and isinstance(manifest.get("partitions"), dict):
            return manifest, name != MANIFESTS[0]
    empty: dict[str, Any] = {"version": 0, "current_seq": 0, "partitions": {}}
    return empty, any((folder / name).exists() for name in MANIFESTS)


def needed_logs(folder: Path, manifest: dict[str, Any]) -> list[LogFile]:
    """List the logs that Milvus Lite has to read, oldest first."""
    logs = [log for path in (folder / "wal").glob("*") if (log := parse_log_name(path))]
    leftover = find_leftover_logs(logs, manifest.get("active_wal_number"))
    return sorted(
        (log for log in logs if log not in leftover), key=lambda log: (log.number, log.path)
    )


def read_evidence(key: CollectionKey, folder: Path) -> Evidence:
    """Read what a collection's files hold, leftover logs aside."""
    manifest, is_fallback = read_manifest(folder)
    states, numbers = [], []
    for partition, files in manifest["partitions"].items():
        for path in files.get("data_files", ()):
            seqs = read_segment_seqs(folder / "partitions" / partition / path)
            states.append(SegmentState(partition, path, None if seqs is None else seqs.size))
            numbers.append(_NOTHING if seqs is None else seqs)
    everything = np.concatenate([_NOTHING, *numbers])
    logs = needed_logs(folder, manifest)
    return Evidence(
        key=key,
        manifest_version=int(manifest.get("version", 0)),
        committed_seq=int(manifest.get("current_seq", 0)),
        segments=tuple(states),
        doubled=int(everything.size - np.unique(everything).size),
        logged_rows=_logged(logs, "data"),
        logged_tombstones=_logged(logs, "delta"),
        is_fallback=is_fallback,
    )


_NOTHING: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


def read_segment_seqs(path: Path) -> NDArray[np.int64] | None:
    """Read the sequence numbers of a segment's rows; none if the file cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            column = file.read(columns=["_seq"]).column("_seq")
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError):
        return None
    numbers: NDArray[np.int64] = column.to_numpy().astype(np.int64)
    return numbers


def read_batches(path: Path) -> list[Any]:
    """Read a log file to its last whole batch, as Milvus Lite will."""
    batches = []
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                batch.validate(full=True)
                batches.append(batch)
    except (pa.ArrowInvalid, OSError):
        return batches
    return batches


def _logged(logs: Iterable[LogFile], kind: str) -> NDArray[np.int64]:
    numbers = [
        batch.column("_seq").to_numpy().astype(np.int64)
        for log in logs
        if log.path.name.startswith(f"wal_{kind}_")
        for batch in read_batches(log.path)
        if "_seq" in batch.schema.names
    ]
    return np.concatenate([_NOTHING, *numbers])
