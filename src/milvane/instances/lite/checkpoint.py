"""
Moves a collection's rows from memory to disk beside running reads.

Milvus Lite's own flush takes the rows out of sight first, then writes them, and forgets them if the
disk is full. Here the rows stay where they are while they are written and read back and while the
manifest is written; then memory and segments change in one step (`exchange`); a failure before that
step changes nothing. Reads through `views` see all of it or nothing, and wait for none of it; from
others the caller keeps it.

Relies on names that Milvus Lite keeps to itself; `PROVED_ON` lists the versions where this was
tested.
"""

# ruff: noqa: SLF001 - a flush beside reads cannot be built from Milvus Lite's public names

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from milvus_lite.constants import ALL_PARTITIONS
from milvus_lite.storage.delta_file import write_delta_file
from milvus_lite.storage.segment import Segment
from milvus_lite.storage.wal import WAL, _cleanup_old_wals

from milvane.instances.lite.audit_ledger import note_commit
from milvane.instances.lite.exchange import prepare_exchange
from milvane.instances.lite.files import write_rows
from milvane.instances.lite.memory import QuickMemTable

if TYPE_CHECKING:
    from milvus_lite.engine.collection import Collection
    from milvus_lite.storage.memtable import MemTable

PROVED_ON = ("3.2.2",)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Rows and tombstones that are on disk but not yet part of the collection."""

    memtable: MemTable
    wal: WAL
    next_wal: WAL
    segments: dict[tuple[str, str], Segment]
    """By partition and path within it."""
    tombstones: dict[tuple[str, str], pa.Table]
    max_seq: int

    @property
    def rows(self) -> int:
        """How many rows move."""
        return sum(segment.num_rows for segment in self.segments.values())


def prepare(collection: Collection) -> Checkpoint | None:
    """
    Write what is in memory to new files, which nothing refers to yet.

    Nobody may write to the collection from here until `commit`; reads go on.

    Returns:
        What was written, or nothing if nothing is in memory.

    Raises:
        OSError: If the disk is full; the collection is as before.
    """
    memtable, wal = collection._memtable, collection._wal
    if memtable.size() == 0:
        return None
    root = Path(collection.data_dir) / "partitions"
    segments = {}
    for partition, rows in _live_rows(memtable).items():
        path = write_rows(rows, str(root / partition), *sequence_range(rows))
        sync_file(root / partition / path)
        segments[partition, path] = Segment.load(
            str(root / partition / path), partition, collection.pk_field, collection._vector_name
        )
    tombstones = {}
    for partition, rows in _tombstones(memtable, collection.list_partitions()).items():
        path = write_delta_file(rows, str(root / partition), *sequence_range(rows))
        sync_file(root / partition / path)
        tombstones[partition, path] = rows
    return Checkpoint(
        memtable, wal, next_log(collection), segments, tombstones, int(memtable.max_seq)
    )


def commit(collection: Collection, checkpoint: Checkpoint) -> None:
    """
    Make written files part of the collection, and its memory empty.

    Nobody else may write the collection meanwhile, or read it but through `views`.

    Raises:
        OSError: If the manifest could not be written; the collection is as before.
    """
    with collection._maintenance_lock:  # keeps other changes of manifest and segments out
        exchange = prepare_exchange(
            collection,
            come=checkpoint.segments,
            deletions=checkpoint.tombstones.values(),
            memtable=QuickMemTable(collection.schema),
        )
        _commit_manifest(collection._manifest, checkpoint)
        exchange.take_effect(collection)
        collection._wal = checkpoint.next_wal
        collection._recovered_wal_bytes = 0
        note_commit(collection, checkpoint.max_seq)


def clean_up(collection: Collection, checkpoint: Checkpoint) -> None:
    """
    Remove the log of rows that are committed now, and let Lite merge and index segments.

    A death before this leaves a log that `recovery` recognizes.
    """
    wal = checkpoint.wal
    wal._sync_mode = "none"  # its rows are on disk elsewhere: no need to wait for a file to delete
    try:
        wal.close_and_delete()
        _cleanup_old_wals(wal.wal_dir, wal.number)
    except OSError as error:
        _logger.warning("could not remove the log of flushed rows: %s", error)
    collection._schedule_bg_maintenance()


def move_to_disk(collection: Collection) -> int:
    """
    Do the three steps at once, for a caller that is alone with the collection.

    Returns:
        How many rows moved.
    """
    checkpoint = prepare(collection)
    if checkpoint is None:
        return 0
    commit(collection, checkpoint)
    clean_up(collection, checkpoint)
    return checkpoint.rows


def _live_rows(memtable: MemTable) -> dict[str, pa.Table]:
    with memtable._lock:
        batches = tuple(memtable._insert_batches)
        positions = [(batch, row) for batch, row, _ in memtable._pk_index.values()]
    if not positions:
        return {}
    partitions = [batch.column("_partition").to_pylist() for batch in batches]
    offsets = [0]
    for batch in batches:
        offsets.append(offsets[-1] + batch.num_rows)
    picked: dict[str, list[int]] = {}
    for batch, row in positions:
        picked.setdefault(partitions[batch][row], []).append(offsets[batch] + row)
    everything = pa.Table.from_batches(batches)
    layout = memtable._data_schema
    return {
        partition: everything.take(pa.array(rows, pa.int64())).select(layout.names).cast(layout)
        for partition, rows in picked.items()
    }


def _tombstones(memtable: MemTable, known_partitions: list[str]) -> dict[str, pa.Table]:
    entries: dict[str, list[tuple[Any, int]]] = {}
    for key, (seq, partition) in memtable.delete_index_snapshot().items():
        targets = known_partitions if partition == ALL_PARTITIONS else [partition]
        for target in targets:
            entries.setdefault(target, []).append((key, seq))
    return {partition: memtable._build_delta_table(each) for partition, each in entries.items()}


def sequence_range(rows: pa.Table) -> tuple[int, int]:
    """Say the lowest and the highest sequence number of some rows."""
    numbers = rows.column("_seq").to_numpy()
    return int(numbers.min()), int(numbers.max())


def next_log(collection: Collection) -> WAL:
    """Make the log after a collection's present one; its files appear with the first write."""
    wal = collection._wal
    return type(wal)(
        wal_dir=wal.wal_dir,
        wal_data_schema=collection._wal_data_schema,
        wal_delta_schema=collection._wal_delta_schema,
        wal_number=wal.number + 1,
        sync_mode=wal._sync_mode,
    )


def _commit_manifest(manifest: Any, checkpoint: Checkpoint) -> None:
    active_before = manifest.active_wal_number
    for partition, path in checkpoint.segments:
        manifest.add_data_file(partition, path)
    for partition, path in checkpoint.tombstones:
        manifest.add_delta_file(partition, path)
    manifest.current_seq = max(manifest.current_seq, checkpoint.max_seq)
    manifest.active_wal_number = checkpoint.next_wal.number
    try:
        manifest.save()
    except BaseException:
        for partition, path in checkpoint.segments:
            manifest.remove_data_files(partition, [path])
        for partition, path in checkpoint.tombstones:
            manifest.remove_delta_files(partition, [path])
        manifest.active_wal_number = active_before
        raise


def sync_file(path: Path) -> None:
    """Wait until a file and its name are on the disk."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
