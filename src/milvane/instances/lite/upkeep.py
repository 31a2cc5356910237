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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from milvus_lite.constants import MAX_SEGMENT_ROWS
from milvus_lite.engine import collection as lite
from milvus_lite.index.factory import load_index_from_spec
from milvus_lite.schema.types import DataType
from milvus_lite.search import executor_indexed
from milvus_lite.storage.segment import Segment
from milvus_lite.storage.snapshots import snapshot_references

from milvane.instances.lite import mapping, merging
from milvane.instances.lite.audit_ledger import note_change
from milvane.instances.lite.building import build
from milvane.instances.lite.checkpoint import sequence_range, sync_file
from milvane.instances.lite.exchange import prepare_exchange
from milvane.instances.lite.files import write_rows
from milvane.instances.lite.live import LiveRows, update
from milvane.instances.lite.merging import Limits, Piece, plan_step
from milvane.instances.lite.scanning import ScanIndex

if TYPE_CHECKING:
    from milvus_lite.engine.collection import Collection
    from milvus_lite.index.spec import IndexSpec

_SEGMENT_BYTES = 512 * 1024 * 1024
"""Vectors of a merged segment: its graph is half as large, and copied to be extended."""
_SCANNED_ANYWAY = frozenset({"FLAT", "BRUTE_FORCE"})

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments of one partition, and what is to take their place."""

    partition: str
    obsolete: list[str]
    segments: dict[str, Segment]
    """By path within the partition: one, or none if no row is left."""
    graphs: dict[str, Any]
    """By field, what is known of the first rows."""


def prepare() -> None:
    """
    Keep Milvus Lite's own ways out of the whole process, before a collection is opened.

    Its brute force takes memory for queries times rows times dimensions; and it begins to merge
    when it opens a collection, which would have to be waited for.
    """
    executor_indexed.BruteForceIndex = ScanIndex
    mapping.take_over()
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
    for partition, files in collection._manifest.get_all_data_files().items():
        mapping.remove_unused(Path(collection.data_dir) / "partitions" / partition, files)
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
        collection._ensure_loaded_segments_indexed()
        while any(
            take_step(collection, partition, index_min_rows)
            for partition in collection.list_partitions()
        ):
            pass
    except Exception:
        _logger.exception("%s: merging or indexing failed; next try after a flush", collection.name)


def take_step(collection: Collection, partition: str, index_min_rows: int) -> bool:
    """
    Do what is to be done next in a partition.

    Returns:
        Whether something was done.
    """
    with collection._maintenance_lock:  # guards manifest, segments and tombstones together
        if not collection.has_partition(partition):
            return False
        files = collection._manifest.get_data_files(partition)
        cached = {path: collection._segment_cache.get((partition, path)) for path in files}
        tombstones = collection._delta_index.frozen_copy()._map
    segments = {path: each for path, each in cached.items() if each is not None}
    specs = _wanted_graphs(collection)
    if specs is None:
        segments = {path: e for path, e in segments.items() if e.num_rows < index_min_rows}
    step = plan_step(_pieces(segments, specs or []), _limits(collection, index_min_rows))
    if isinstance(step, merging.Build):
        built = [_build_index(collection, segments[step.name], spec) for spec in specs or []]
        return any(built)
    if step is None:
        return False
    names = [*([step.base] if step.base else []), *step.others]
    targets = {name: segments[name] for name in names}
    merge = prepare_merge(collection, partition, targets, tombstones)
    if specs is not None:
        for segment in merge.segments.values():
            if segment.num_rows >= index_min_rows:
                for spec in specs:
                    _build_index(collection, segment, spec, merge.graphs.get(spec.field_name))
    return commit_merge(collection, merge)


def _wanted_graphs(collection: Collection) -> list[IndexSpec] | None:
    """List what is to be built for each segment; nothing while a graph would be in nobody's use."""
    specs = [
        each for each in tuple(collection._index_specs.values()) if _is_dense(collection, each)
    ]
    if specs and collection.load_state != "loaded":
        return None
    return [each for each in specs if each.index_type not in _SCANNED_ANYWAY]


def _pieces(segments: dict[str, Segment], specs: list[IndexSpec]) -> list[Piece]:
    return [
        Piece(
            path,
            segment.num_rows,
            is_settled=not any(
                isinstance(segment.indexes.get(spec.field_name), ScanIndex) for spec in specs
            ),
        )
        for path, segment in sorted(segments.items(), key=lambda each: int(each[1].seqs.min()))
    ]


def _limits(collection: Collection, index_min_rows: int) -> Limits:
    row_bytes = sum(
        field.dim * 4 for field in collection.schema.fields if field.dtype == DataType.FLOAT_VECTOR
    )
    return Limits(index_min_rows, min(MAX_SEGMENT_ROWS, _SEGMENT_BYTES // max(1, row_bytes)))


def prepare_merge(
    collection: Collection,
    partition: str,
    targets: dict[str, Segment],
    tombstones: dict[Any, int],
) -> Merge:
    """
    Write the live rows of segments beside those segments.

    Args:
        collection: Whose they are.

        partition: Where they are.

        targets: By path, in the order in which their rows are written.

        tombstones: Key -> sequence number of its last deletion, of the moment of these segments.

    Returns:
        What was written, and the graphs that know its first rows.
    """
    folder = Path(collection.data_dir) / "partitions" / partition
    sources = list(targets.values())
    masks = update(LiveRows(), sources, tombstones, 0).masks
    parts = [
        segment.table if masks[segment] is None else segment.table.filter(pa.array(masks[segment]))
        for segment in sources
    ]
    rows = pa.concat_tables(parts)
    merge = Merge(partition, list(targets), {}, {})
    if rows.num_rows:
        names = collection._compaction_mgr._pick_unique_seq_range(
            str(folder), *sequence_range(rows)
        )
        rows = mapping.numbered(rows)
        path = write_rows(rows, str(folder), *names)
        mapping.write_vectors(rows, folder / path)
        for segment in sources:
            mapping.let_go_of_pages(Path(segment.file_path))
        sync_file(folder / path)
        merge.segments[path] = _load_segment(collection, partition, folder / path)
        if masks[sources[0]] is None:
            merge.graphs.update(sources[0].indexes)
    return merge


def commit_merge(collection: Collection, merge: Merge) -> bool:
    """
    Put merged segments in the place of those that they were made of.

    Returns:
        Whether it was done; if those are no longer what the collection has, nothing is.

    Raises:
        OSError: If the manifest could not be written; the collection is as before.
    """
    folder = Path(collection.data_dir) / "partitions" / merge.partition
    with collection._maintenance_lock:  # keeps other changes of manifest and segments out
        exchange = prepare_exchange(
            collection,
            come={(merge.partition, path): each for path, each in merge.segments.items()},
            gone={(merge.partition, path) for path in merge.obsolete},
        )
        is_current = _replace_in_manifest(collection, merge)
        if is_current:
            exchange.take_effect(collection)
            # Only now: the segments of before needed the deletions that go.
            collection._compaction_mgr._gc_tombstones(collection._manifest, collection._delta_index)
            collection._cleanup_orphan_index_files()
            note_change(collection)
    for path in merge.obsolete if is_current else merge.segments:
        if path not in snapshot_references(collection.data_dir)[0].get(merge.partition, set()):
            (folder / path).unlink(missing_ok=True)
    if is_current:
        mapping.remove_unused(folder, collection._manifest.get_data_files(merge.partition))
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


def _build_index(
    collection: Collection, segment: Segment, spec: IndexSpec, base: Any = None
) -> bool:
    present = segment.indexes.get(spec.field_name)
    if not isinstance(present, ScanIndex) or spec.index_type in _SCANNED_ANYWAY:
        return False
    index = build(spec, segment.vector_data(spec.field_name)[0], base)
    mapping.let_go_of_pages(Path(segment.file_path))
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
