"""
The opened Milvus Lite: every collection open and loaded, so that no call ever opens one.

Milvus Lite opens collections on first use, without a lock. Whoever calls here keeps the order that
`access` describes; nothing in this module waits for it.
"""

# ruff: noqa: SLF001 - what is in memory, and where a collection is, Milvus Lite does not tell

from __future__ import annotations

import json
import logging
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milvus_lite.db import MilvusLite
from milvus_lite.schema.types import DataType
from milvus_lite.search.filter.cache import LRUCache

from milvane.instances.lite import (
    audit_files,
    checkpoint,
    intake,
    recovery,
    repair_files,
    search,
    upkeep,
)
from milvane.instances.lite.audit import open_account
from milvane.instances.lite.audit_ledger import (
    Ledger,
    attach,
    ledger_of,
    note_change,
    read_account,
)
from milvane.instances.lite.flushing import Pending
from milvane.instances.lite.indexing import FieldKind
from milvane.instances.lite.journal import Action, CollectionKey, Intent, Journal
from milvane.instances.lite.memory import QuickMemTable
from milvane.instances.lite.views import views_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from milvus_lite.engine.collection import Collection

_logger = logging.getLogger(__name__)


class SharedCache(LRUCache):
    """Milvus Lite's cache of compiled filters, safe for searches that run at the same time."""

    __slots__ = ("_lock",)

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize)
        self._lock = threading.Lock()  # guards the order of entries

    def get(self, key: Any) -> Any:
        """Look an entry up, and make it the last to be evicted."""
        with self._lock:
            return super().get(key)

    def put(self, key: Any, value: Any) -> None:
        """Add an entry, evicting the one unused for longest."""
        with self._lock:
            super().put(key, value)

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            super().clear()


def is_success(response: Any) -> bool:
    """Say whether a response of Milvus Lite reports success."""
    status = getattr(response, "status", response)
    return not getattr(status, "code", 0) and not getattr(status, "error_code", 0)


class Engine:
    """Milvus Lite on one data directory, with what it does not remember by itself."""

    def __init__(self, data_dir: Path, *, fsync: bool, index_min_rows: int) -> None:
        """
        Open the database itself; its collections are opened by `open_all`.

        Args:
            data_dir: Put in order (`recovery`) once it is ours.

            fsync: Whether each write waits for the disk.

            index_min_rows: Rows of a segment from which an index is built.

        Raises:
            DataDirLockedError: If another process has the directory.
        """
        self.db = MilvusLite(str(data_dir))
        recovery.recover(data_dir)
        self._examined = audit_files.examine(data_dir)
        audit_files.report(self._examined.values())
        kept = repair_files.keep_unnamed_files(data_dir, self._examined.values())
        if kept is not None:
            _logger.error("files that no manifest names are kept in %s", kept)
        upkeep.prepare()
        self._fsync = fsync
        self._index_min_rows = index_min_rows
        self._is_proved = search.is_proved(version("milvus-lite"))
        if self._is_proved:
            intake.take_over()
        self._synced_logs: dict[CollectionKey, frozenset[str]] = {}
        self._journal = Journal(data_dir)

    @property
    def reads_keep_views(self) -> bool:
        """Whether a read sees what was there when it began, whatever moves to disk meanwhile."""
        return self._is_proved

    def open_all(self) -> int:
        """
        Open every collection, and load each that was not released on purpose.

        Returns:
            How many are open.
        """
        for key in self._keys_on_disk():
            self._open(key)
        self.remember_released()
        return len(self.db._collections)

    def resolve(self, database: str, name: str) -> CollectionKey:
        """Find a collection's own name, given that or an alias."""
        database = database or recovery.DEFAULT_DATABASE
        try:
            return CollectionKey(
                database, self.db.resolve_collection_name(name, database_name=database)
            )
        except (TypeError, ValueError, OSError):
            return CollectionKey(database, name)  # Milvus Lite says itself what is wrong with it

    def find(self, key: CollectionKey) -> Collection | None:
        """Return an open collection, or nothing."""
        return self.db._collections.get(tuple(key))

    def field_kind(self, key: CollectionKey, name: str) -> FieldKind | None:
        """Say what an index on a field would be for, or nothing if there is no such field."""
        collection = self.find(key)
        fields = () if collection is None else collection.schema.fields
        dtype = next((field.dtype for field in fields if field.name == name), None)
        if collection is None or dtype is None:
            return None
        if dtype is DataType.SPARSE_FLOAT_VECTOR:
            return FieldKind.BM25 if name in collection._bm25_analyzers else FieldKind.SPARSE
        return FieldKind.DENSE if dtype is DataType.FLOAT_VECTOR else FieldKind.SCALAR

    def lock_of_reads(self, collection: Collection) -> threading.RLock:
        """Return the one lock for which a read of a collection may have to wait."""
        views = views_of(collection)
        lock: Any = collection._maintenance_lock if views is None else views.making
        return lock

    def open_keys(self) -> list[CollectionKey]:
        """List the open collections."""
        return [CollectionKey(*key) for key in self.db._collections]

    def pending(self, key: CollectionKey) -> Pending:
        """Say what of a collection is in memory only. May wait for a search that looks at it."""
        collection = self.find(key)
        if collection is None:
            return Pending(rows=0, bytes=0)
        memtable = collection._memtable
        return Pending(rows=memtable.size(), bytes=memtable.estimated_memory_bytes)

    def sequence(self, key: CollectionKey) -> int:
        """Return a number that grows with each row that reached the log, or tried to."""
        collection = self.find(key)
        return 0 if collection is None else int(collection._next_seq)

    def acknowledge(self, key: CollectionKey, response: Any) -> None:
        """
        Write down that a write is about to be acknowledged.

        Args:
            key: The collection.

            response: What the caller will read.
        """
        collection = self.find(key)
        if collection is None:
            return
        if self._fsync:
            self._sync_log_names(key, collection)
        ledger = ledger_of(collection)
        if ledger is not None:
            ledger.acknowledge(
                collection._next_seq - 1,
                rows=response.insert_cnt + response.upsert_cnt,
                tombstones=response.delete_cnt,
            )

    def recount(self, key: CollectionKey) -> None:
        """Write down what a collection's segments hold after it was changed as a whole."""
        collection = self.find(key)
        if collection is not None:
            note_change(collection)

    def settle(self, key: CollectionKey) -> None:
        """Wait until Lite's background thread has nothing to do for a collection."""
        collection = self.find(key)
        if collection is not None:
            with suppress(RuntimeError):  # closed meanwhile
                collection._wait_for_bg()

    def tend(self, key: CollectionKey) -> None:
        """Have the background thread merge and index what is due."""
        collection = self.find(key)
        if collection is not None:
            collection._schedule_bg_maintenance()

    def start_log(self, key: CollectionKey) -> None:
        """
        Continue a collection's log in a new file, after a write to it failed.

        Raises:
            OSError: If the disk still refuses.
        """
        collection = self.find(key)
        if collection is None:
            return
        torn = collection._wal
        collection._wal = checkpoint.next_log(collection)
        for sink in (torn._data_sink, torn._delta_sink):
            if sink is not None:
                with suppress(OSError):
                    sink.close()

    def remember_released(self) -> None:
        """Write down which collections are released now."""
        self._journal.remember_released(
            CollectionKey(*key)
            for key, collection in self.db._collections.items()
            if collection.load_state != "loaded"
        )

    def reshape(self, rpc: str, key: CollectionKey, target: str, run: Callable[[], Any]) -> Any:
        """
        Run a call that changes which collections there are, so that a death cannot halve it.

        Args:
            rpc: Its name.

            key: The collection it names, if it names one.

            target: The name a collection is to get.

            run: Makes the call.

        Returns:
            What the call returns.
        """
        intent = self._begin(rpc, key, target)
        response = run()
        # A removal that failed half-way stays written down: the next start finishes it.
        if intent is not None and (intent.action is Action.RENAME or is_success(response)):
            self._journal.finish(intent)
        if rpc == "RenameCollection" and is_success(response) and key in self._journal.released:
            renamed = CollectionKey(key.database, target)
            self._journal.remember_released(self._journal.released - {key} | {renamed})
        self.open_all()
        return response

    def flush_all(self) -> None:
        """Move everything to disk; what the disk refuses stays in the log."""
        for key in self.open_keys():
            collection = self.find(key)
            try:
                checkpoint.move_to_disk(collection)
            except OSError as error:
                _logger.warning("%s stays in the log until the next start: %s", key, error)

    def close(self) -> None:
        """Let go of the directory; waits for index builds that run."""
        self.db.close()

    def _begin(self, rpc: str, key: CollectionKey, target: str) -> Intent | None:
        collection = self.find(key)
        if collection is None:
            return None
        if rpc == "RenameCollection":
            checkpoint.move_to_disk(collection)
            return self._journal.begin(Action.RENAME, key, name=target)
        if rpc == "TruncateCollection":
            intent = self._journal.begin(Action.TRUNCATE, key, **self._skeleton(collection))
        elif rpc == "DropCollection":
            intent = self._journal.begin(Action.DROP, key)
        else:
            return None
        # Closing would write rows to disk that are about to be removed from it.
        collection._memtable = type(collection._memtable)(collection.schema)
        return intent

    def _skeleton(self, collection: Collection) -> dict[str, Any]:
        folder = Path(collection.data_dir)
        return {
            "schema": json.loads((folder / "schema.json").read_text(encoding="utf-8")),
            "manifest": recovery.empty_manifest(collection._manifest._to_payload()),
        }

    def _keys_on_disk(self) -> Iterator[CollectionKey]:
        for database in self.db.list_databases():
            for name in self.db.list_collections(database_name=database):
                yield CollectionKey(database, name)

    def _open(self, key: CollectionKey) -> None:
        try:
            collection = self.db.get_collection(key.name, database_name=key.database)
        except Exception:
            _logger.exception("collection %s cannot be opened; the others are served", key)
            return
        if isinstance(collection._filter_cache, SharedCache):
            return  # prepared before
        collection._filter_cache = SharedCache(collection._filter_cache.maxsize)
        collection._wait_for_bg()  # what opening has begun by itself
        collection._memtable = QuickMemTable.from_rows_of(collection._memtable)
        upkeep.take_over(collection, self._index_min_rows)
        if self._is_proved:
            search.take_over(collection)
        if self._fsync:
            collection._wal._sync_mode = "batch"
        self._begin_account(key, collection)
        if collection._auto_id:
            _skip_given_ids(collection)
        if key not in self._journal.released:
            _load(collection, key)
        self.tend(key)

    def _begin_account(self, key: CollectionKey, collection: Collection) -> None:
        folder = Path(collection.data_dir)
        examined = self._examined.pop(key, None)  # nothing if it was made while we serve
        try:
            evidence = (
                audit_files.read_evidence(key, folder) if examined is None else examined.evidence
            )
            before = read_account(folder) if examined is None else examined.account
            attach(collection, Ledger(folder, open_account(before, evidence)))
            note_change(collection)
        except OSError as error:
            _logger.warning("collection %s is not audited: %s", key, error)

    def _sync_log_names(self, key: CollectionKey, collection: Collection) -> None:
        # A file whose name is not on the disk is gone after a power failure, synced or not.
        wal = collection._wal
        names = frozenset(path for path in (wal.data_path, wal.delta_path) if path is not None)
        if names != self._synced_logs.get(key):
            checkpoint.sync_file(Path(wal.wal_dir))
            self._synced_logs[key] = names


def _skip_given_ids(collection: Collection) -> None:
    # Lite counts ids on from the number of writes: too low if rows were refused before, and then
    # new rows would replace old ones.
    ids = [pk for segment in collection._segments_snapshot() for pk in segment.pks]
    ids += [pk for pk, _ in collection._memtable.pk_index_snapshot()]
    highest = max((pk for pk in ids if isinstance(pk, int)), default=0)
    collection._next_auto_id = max(collection._next_auto_id, highest + 1)


def _load(collection: Collection, key: CollectionKey) -> None:
    try:
        collection.load()
    except Exception as error:  # noqa: BLE001 - an index file may be torn in any way
        _logger.warning("%s: an index does not load (%s); building it anew", key, error)
    else:
        return
    for sidecar in Path(collection.data_dir).glob("partitions/*/indexes/*"):
        sidecar.unlink()
    try:
        collection.load()
    except Exception:
        _logger.exception("collection %s cannot be loaded; it can be read after a new load", key)
