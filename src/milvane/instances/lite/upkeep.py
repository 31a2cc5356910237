"""
Merges segments and builds indexes in the background, beside reads and writes.

Milvus Lite merges under the lock that every read takes, builds a graph for each small segment only
to build it again after the next merge, and writes index files in place. Here everything is prepared
beside the running collection, and changes hands in one short step; small segments are scanned; an
index file appears whole or not at all.
"""

# ruff: noqa: SLF001 - this replaces two methods of Milvus Lite's collection, and reads its segments

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import pyarrow as pa
from milvus_lite.constants import MAX_SEGMENT_ROWS
from milvus_lite.engine import collection as lite
from milvus_lite.index.factory import build_index_from_spec, load_index_from_spec
from milvus_lite.schema.types import DataType
from milvus_lite.search import executor_indexed
from milvus_lite.storage.segment import Segment
from milvus_lite.storage.snapshots import snapshot_references

from milvane.instances.lite.audit_ledger import note_change
from milvane.instances.lite.checkpoint import sequence_range, sync_file
from milvane.instances.lite.files import write_rows
from milvane.instances.lite.scanning import ScanIndex

if TYPE_CHECKING:
    from milvus_lite.engine.collection import Collection
    from milvus_lite.index.spec import IndexSpec

_NICENESS = 10
_SCANNED_ANYWAY = frozenset({"FLAT", "BRUTE_FORCE"})

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments of one partition, and what is to take their place."""

    partition: str
    obsolete: list[str]
    segments: dict[str, Segment]
    """By path within the partition."""


def prepare() -> None:
    """
    Keep Milvus Lite's own ways out of the whole process, before a collection is opened.

    Its brute force takes memory for queries times rows times dimensions; and it begins to merge
    when it opens a collection, which would have to be waited for.
    """
    executor_indexed.BruteForceIndex = ScanIndex
    lite.Collection._bg_compact_and_index = _do_nothing


def _do_nothing(_: Collection) -> None:
    pass


def take_over(collection: Collection, index_min_rows: int) -> None:
    """
    Put the upkeep of a collection into the hands of this module.

    Args:
        collection: Just opened, with no work in its background thread.

        index_min_rows: Rows of a segment from which an index is built.
    """
    build_as_before = collection._build_or_load_segment_index
    collection._build_or_load_segment_index = partial(attach_index, collection, build_as_before)
    collection._bg_compact_and_index = partial(tend, collection, index_min_rows)


def attach_index(collection: Collection, build_as_before: Any, segment: Any, spec: Any) -> None:
    """
    Make a segment searchable by an index at once: from its file, or by scanning.

    Args:
        collection: Whose segment it is.

        build_as_before: Milvus Lite's own way, for indexes that are not of dense vectors.

        segment: One that may have the index already.

        spec: The index that is wanted.
    """
    if not _is_dense(collection, spec):
        build_as_before(segment, spec)
        return
    if spec.field_name in segment.indexes:
        return
    vectors, _ = segment.vector_data(spec.field_name)
    index = _load(collection, segment, spec) or ScanIndex(vectors, spec.metric_type)
    segment.attach_index(index, spec.field_name)


def tend(collection: Collection, index_min_rows: int) -> None:
    """Merge what should be merged, and build the indexes that are missing."""
    try:
        _merge_what_is_due(collection, index_min_rows)
        collection._ensure_loaded_segments_indexed()
        # Segments that came while a graph was built are merged before the next one is.
        while _build_one_index(collection, index_min_rows):
            _merge_what_is_due(collection, index_min_rows)
    except Exception:
        _logger.exception("%s: merging or indexing failed; next try after a flush", collection.name)


def _merge_what_is_due(collection: Collection, index_min_rows: int) -> None:
    for partition in collection.list_partitions():
        while (merge := plan_merge(collection, partition)) is not None:
            # The old segments have their indexes: they serve until the new one has its own.
            for segment in merge.segments.values():
                _build_indexes(collection, segment, index_min_rows)
            if not commit_merge(collection, merge):
                break


def _build_one_index(collection: Collection, index_min_rows: int) -> bool:
    return any(
        _build_indexes(collection, segment, index_min_rows)
        for segment in collection._segments_snapshot()
    )


def _build_indexes(collection: Collection, segment: Segment, index_min_rows: int) -> bool:
    if segment.num_rows < index_min_rows:
        return False
    specs = [
        each for each in tuple(collection._index_specs.values()) if _is_dense(collection, each)
    ]
    built = [_build_index(collection, segment, spec) for spec in specs]
    return any(built)


def plan_merge(collection: Collection, partition: str) -> Merge | None:
    """
    Write the merged rows of segments that are too many, beside those segments.

    Returns:
        What was written, or nothing if the segments are few.
    """
    manager = collection._compaction_mgr
    folder = Path(collection.data_dir) / "partitions" / partition
    with collection._maintenance_lock:  # guards manifest, segments and tombstones together
        if not collection.has_partition(partition):
            return None
        files = collection._manifest.get_data_files(partition)
        cached = {path: collection._segment_cache.get((partition, path)) for path in files}
        tombstones = collection._delta_index.frozen_copy()
    target = manager._select_target(
        manager._bucket_files(str(folder), files), len(files), str(folder)
    )
    if target is None or any(cached[path] is None for path in target):
        return None
    rows = pa.concat_tables([cached[path].table for path in target])
    live = manager._filter_deleted(manager._dedup_max_seq(rows), tombstones).sort_by("_seq")
    segments = {}
    for start in range(0, live.num_rows, MAX_SEGMENT_ROWS):
        part = live.slice(start, MAX_SEGMENT_ROWS)
        names = manager._pick_unique_seq_range(str(folder), *sequence_range(part))
        path = write_rows(part, str(folder), *names)
        sync_file(folder / path)
        segments[path] = _load_segment(collection, partition, folder / path)
    return Merge(partition, target, segments)


def commit_merge(collection: Collection, merge: Merge) -> bool:
    """
    Put merged segments in the place of those that they were made of.

    Returns:
        Whether it was done; if those are no longer what the collection has, nothing is.

    Raises:
        OSError: If the manifest could not be written; the collection is as before.
    """
    folder = Path(collection.data_dir) / "partitions" / merge.partition
    with collection._maintenance_lock:
        is_current = _replace_in_manifest(collection, merge)
        if is_current:
            for path in merge.obsolete:
                del collection._segment_cache[merge.partition, path]
            for path, segment in merge.segments.items():
                collection._segment_cache[merge.partition, path] = segment
            collection._compaction_mgr._gc_tombstones(collection._manifest, collection._delta_index)
            collection._cleanup_orphan_index_files()
            note_change(collection)
    for path in merge.obsolete if is_current else merge.segments:
        if path not in snapshot_references(collection.data_dir)[0].get(merge.partition, set()):
            (folder / path).unlink(missing_ok=True)
    _logger.info(
        "%s: %d segments became %d (%d rows)",
        collection.name,
        len(merge.obsolete),
        len(merge.segments),
        sum(segment.num_rows for segment in merge.segments.values()),
    )
    return is_current


def _replace_in_manifest(collection: Collection, merge: Merge) -> bool:
    manifest, partition = collection._manifest, merge.partition
    if not manifest.has_partition(partition):
        return False
    before = manifest.get_data_files(partition)
    if not set(merge.obsolete) <= set(before):
        return False
    manifest.remove_data_files(partition, merge.obsolete)
    for path in merge.segments:
        manifest.add_data_file(partition, path)
    try:
        manifest.save()
    except BaseException:
        manifest.remove_data_files(partition, list(merge.segments))
        for path in merge.obsolete:
            manifest.add_data_file(partition, path)
        raise
    return True


def _load_segment(collection: Collection, partition: str, path: Path) -> Segment:
    segment = Segment.load(str(path), partition, collection.pk_field, collection._vector_name)
    if collection.load_state == "loaded":
        for spec in tuple(collection._index_specs.values()):
            collection._build_or_load_segment_index(segment, spec)
    return segment


def _is_dense(collection: Collection, spec: IndexSpec) -> bool:
    return any(
        field.name == spec.field_name and field.dtype == DataType.FLOAT_VECTOR
        for field in collection.schema.fields
    )


def _index_file(collection: Collection, segment: Segment, spec: IndexSpec) -> Path:
    folder = collection._index_dir(segment.partition)
    return Path(segment.index_file_path(folder, spec.index_type, spec.field_name))


def _load(collection: Collection, segment: Segment, spec: IndexSpec) -> Any:
    path = _index_file(collection, segment, spec)
    if not path.exists() or spec.index_type in _SCANNED_ANYWAY:
        return None
    try:
        return load_index_from_spec(
            spec, str(path), segment.vector_data(spec.field_name)[0].shape[1]
        )
    except Exception as error:  # noqa: BLE001 - a torn file fails in many ways
        _logger.warning("%s is not readable and is built again: %s", path.name, error)
        path.unlink()
        return None


def _build_unhurried(spec: IndexSpec, vectors: Any) -> Any:
    # A thread of its own, which every other goes before, since it could not become quick again.
    def build() -> Any:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # of this thread
        return build_index_from_spec(spec, vectors)

    with ThreadPoolExecutor(1, thread_name_prefix="lite-index") as threads:
        return threads.submit(build).result()


def _build_index(collection: Collection, segment: Segment, spec: IndexSpec) -> bool:
    present = segment.indexes.get(spec.field_name)
    if not isinstance(present, ScanIndex) or spec.index_type in _SCANNED_ANYWAY:
        return False
    index = _build_unhurried(spec, segment.vector_data(spec.field_name)[0])
    path = _index_file(collection, segment, spec)
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".tmp")
    index.save(str(draft))
    with collection._maintenance_lock:
        # Released, dropped or merged away meanwhile: then nobody wants it.
        if (
            segment.indexes.get(spec.field_name) is not present
            or not Path(segment.file_path).exists()
        ):
            draft.unlink()
            return False
        draft.replace(path)
        segment.attach_index(index, spec.field_name)
    _logger.info("%s: indexed %d rows", collection.name, segment.num_rows)
    return True
