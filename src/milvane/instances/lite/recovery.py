"""
Puts a data directory in order before Milvus Lite opens it.

Milvus Lite replays every log file it finds. One that is older than the manifest's active log was
left behind by a flush that had committed: replayed, its rows would be there twice. And changes that
take several steps may have been cut in two. What to do is decided by pure functions over what was
seen; the files are touched by `recover` alone.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from milvane.instances.lite.journal import Action, CollectionKey, Intent, Journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SIDE_FOLDER = "recovered"
DEFAULT_DATABASE = "default"

_LOG_NAME = re.compile(r"^wal_(data|delta)_(\d+)\.arrow$")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of a collection's write-ahead log."""

    path: Path
    number: int


@dataclass(frozen=True, slots=True)
class LogContent:
    """How much of a log file can be read."""

    batches: int
    rows: int
    is_torn: bool
    """Whether something follows the last whole batch: a write that was never acknowledged."""


def parse_log_name(path: Path) -> LogFile | None:
    """Recognize a log file by its name."""
    match = _LOG_NAME.match(path.name)
    return LogFile(path, int(match[2])) if match else None


def find_leftover_logs(logs: Iterable[LogFile], active_number: int | None) -> list[LogFile]:
    """
    Say which log files hold only rows that are in segments already.

    Args:
        logs: The files on disk.

        active_number: The log that the manifest names as the first that is not flushed; nothing
            if the collection was never flushed.

    Returns:
        The files to remove, oldest first.
    """
    if active_number is None:
        return []
    return sorted(
        (log for log in logs if log.number < active_number), key=lambda log: (log.number, log.path)
    )


def plan_finish(intent: Intent, existing: Sequence[CollectionKey]) -> str:
    """
    Say what remains to be done of a change that was cut in two.

    Args:
        intent: What was begun.

        existing: Collections that have a schema now.

    Returns:
        "remove" or "recreate" the collection, "retarget" its aliases, or "nothing".
    """
    if intent.action is Action.DROP:
        return "remove"
    if intent.action is Action.TRUNCATE:
        return "recreate"
    renamed = CollectionKey(intent.key.database, intent.facts["name"])
    return "retarget" if renamed in existing and intent.key not in existing else "nothing"


def read_log(path: Path) -> LogContent:
    """Read a log file to the last whole batch, as Milvus Lite will."""
    batches = rows = 0
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                batch.validate(full=True)
                batches, rows = batches + 1, rows + batch.num_rows
    except (pa.ArrowInvalid, OSError):
        return LogContent(batches, rows, is_torn=True)
    return LogContent(batches, rows, is_torn=False)


def recover(data_dir: Path) -> None:
    """
    Put everything in order: finish what was begun, set remains aside, remove leftover logs.

    Args:
        data_dir: Not open by any process; need not exist.
    """
    if not data_dir.exists():
        return
    _finish_intents(data_dir, Journal(data_dir))
    for folder in _collection_folders(data_dir):
        if not (folder / "schema.json").exists():
            _set_aside(data_dir, folder)
            continue
        for draft in folder.glob("*.json.tmp"):
            draft.unlink()
        _recover_logs(folder)


def database_folder(data_dir: Path, database: str) -> Path:
    """Say where Milvus Lite keeps a database."""
    return data_dir if database == DEFAULT_DATABASE else data_dir / "databases" / database


def collection_folder(data_dir: Path, key: CollectionKey) -> Path:
    """Say where Milvus Lite keeps a collection."""
    return database_folder(data_dir, key.database) / "collections" / key.name


def empty_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """
    Keep of a manifest what outlives the rows: partitions and indexes.

    Args:
        manifest: As Milvus Lite writes it.
    """
    kept = {
        "manifest_format_version",
        "schema_version",
        "index_specs",
    }
    return {
        **{name: value for name, value in manifest.items() if name in kept},
        "version": 0,
        "current_seq": 0,
        "active_wal_number": None,
        "partitions": {
            name: {"data_files": [], "delta_files": []} for name in manifest["partitions"]
        },
    }


def _collection_folders(data_dir: Path) -> Iterator[Path]:
    databases = data_dir / "databases"
    roots = [data_dir, *(sorted(databases.iterdir()) if databases.is_dir() else [])]
    for root in roots:
        if (root / "collections").is_dir():
            yield from sorted(each for each in (root / "collections").iterdir() if each.is_dir())


def _recover_logs(folder: Path) -> None:
    logs = [log for path in (folder / "wal").glob("*") if (log := parse_log_name(path))]
    leftover = find_leftover_logs(logs, _active_log(folder))
    for log in leftover:
        log.path.unlink()
        _logger.warning(
            "%s: removed %s, whose rows are flushed already", folder.name, log.path.name
        )
    for log in logs:
        if log in leftover:
            continue
        content = read_log(log.path)
        if content.is_torn:
            _logger.warning(
                "%s: the end of %s is torn; %d whole batches (%d rows) are kept, what follows was "
                "never acknowledged",
                folder.name,
                log.path.name,
                content.batches,
                content.rows,
            )


def _active_log(folder: Path) -> int | None:
    for name in ("manifest.json", "manifest.json.prev"):  # the order in which Lite trusts them
        try:
            number = json.loads((folder / name).read_text(encoding="utf-8"))["active_wal_number"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return None if number is None else int(number)
    return None


def _set_aside(data_dir: Path, folder: Path) -> None:
    # Without a schema Lite does not see it, and yet could not create a collection of its name.
    side = data_dir / SIDE_FOLDER
    side.mkdir(exist_ok=True)
    target = side / folder.name
    attempt = 1
    while target.exists():
        attempt += 1
        target = side / f"{folder.name}-{attempt}"
    folder.rename(target)
    _logger.warning("moved the remains of collection %s to %s", folder.name, target)


def _finish_intents(data_dir: Path, journal: Journal) -> None:
    for intent in journal.intents:
        existing = [
            CollectionKey(intent.key.database, folder.name)
            for folder in _collection_folders(database_folder(data_dir, intent.key.database))
            if (folder / "schema.json").exists()
        ]
        step = plan_finish(intent, existing)
        _logger.warning(
            "%s of collection %s was cut short: %s", intent.action.value, intent.key, step
        )
        folder = collection_folder(data_dir, intent.key)
        if step in {"remove", "recreate"}:
            shutil.rmtree(folder, ignore_errors=True)
        if step == "remove":
            _point_aliases(data_dir, intent.key, None)
        elif step == "recreate":
            _recreate(folder, intent.facts)
        elif step == "retarget":
            _point_aliases(data_dir, intent.key, intent.facts["name"])
        journal.finish(intent)


def _recreate(folder: Path, facts: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(facts["manifest"]), encoding="utf-8")
    (folder / "schema.json").write_text(json.dumps(facts["schema"]), encoding="utf-8")


def _point_aliases(data_dir: Path, key: CollectionKey, name: str | None) -> None:
    path = database_folder(data_dir, key.database) / "aliases.json"
    if not path.exists():
        return
    aliases = json.loads(path.read_text(encoding="utf-8"))
    kept = {
        alias: name if target == key.name else target
        for alias, target in aliases.items()
        if target != key.name or name is not None
    }
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(kept, indent=2), encoding="utf-8")
    draft.replace(path)
