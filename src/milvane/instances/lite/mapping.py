"""
Keeps the vectors of merged segments in files that are mapped into memory.

Milvus Lite reads a segment's file into memory whole. Searches need little of it: a graph has its
own copy, and vectors are looked at only of the rows that it finds. So a merge writes the vectors
once more, as they are in memory, to a file beside the segment, and the kernel keeps of it what is
used. The segment's own file stays complete: without the other it is read as before.

The name holds a number that the segment's file knows: segments may get the name of an older one.
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import pyarrow as pa
import pyarrow.parquet as pq
from milvus_lite.storage import segment as lite

if TYPE_CHECKING:
    from collections.abc import Collection

_FOLDER = "vectors"
_DRAFT = ".tmp"
_NUMBER = b"milvane-vectors"
_NUMBER_BYTES = 4
_MAPPED_FROM_BYTES = 8 * 1024 * 1024
"""Smaller columns are not worth a file."""

_logger = logging.getLogger(__name__)
_maps: WeakValueDictionary[str, mmap.mmap] = WeakValueDictionary()


def take_over() -> None:
    """Have Milvus Lite read segments by this module, for the whole process."""
    lite.read_data_file = read_rows


def numbered(rows: pa.Table) -> pa.Table:
    """Give rows that are about to be written the number of their other files."""
    number = secrets.token_hex(8).encode()
    return rows.replace_schema_metadata({**(rows.schema.metadata or {}), _NUMBER: number})


def write_vectors(rows: pa.Table, path: Path) -> None:
    """
    Write the vectors of a segment beside it, where that is worth it.

    Args:
        rows: As `numbered`, in the order of the segment.

        path: The segment's file. If the disk is full, it is all there is.
    """
    number = rows.schema.metadata[_NUMBER].decode()
    for field in rows.schema:
        column = rows.column(field.name)
        if not pa.types.is_fixed_size_list(field.type) or field.type.value_type != pa.float32():
            continue
        size = rows.num_rows * field.type.list_size * _NUMBER_BYTES
        if size < _MAPPED_FROM_BYTES or column.null_count:
            continue
        target = _file(path, field.name, number)
        try:
            _write(column, target)
        except OSError as error:
            _logger.warning("%s: its vectors stay in memory: %s", path.name, error)
            target.with_suffix(_DRAFT).unlink(missing_ok=True)


def _write(column: pa.ChunkedArray, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    draft = target.with_suffix(_DRAFT)
    with draft.open("wb") as file:
        for chunk in column.chunks:
            file.write(chunk.flatten().to_numpy(zero_copy_only=True).data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)


def read_rows(path: str) -> pa.Table:
    """
    Read a segment, in the place of Milvus Lite's `read_data_file`.

    Args:
        path: The segment's file.

    Returns:
        Its rows; vectors that are in a file of their own are mapped.
    """
    layout = pq.read_schema(path)
    number = (layout.metadata or {}).get(_NUMBER)
    if number is None:
        return pq.read_table(path)
    rows = pq.ParquetFile(path).metadata.num_rows
    mapped = {
        field.name: column
        for field in layout
        if pa.types.is_fixed_size_list(field.type)
        and (column := _map(_file(Path(path), field.name, number.decode()), field.type, rows))
        is not None
    }
    if not mapped:
        return pq.read_table(path)
    others = pq.read_table(path, columns=[name for name in layout.names if name not in mapped])
    columns = [mapped.get(name) or others.column(name) for name in layout.names]
    return pa.Table.from_arrays(columns, schema=layout)


def _map(path: Path, kind: Any, rows: int) -> pa.Array | None:
    size = rows * kind.list_size * _NUMBER_BYTES
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                return None
            content = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
    except (OSError, ValueError):
        return None
    _maps[str(path)] = content
    numbers = pa.Array.from_buffers(
        pa.float32(), rows * kind.list_size, [None, pa.py_buffer(content)]
    )
    return pa.FixedSizeListArray.from_arrays(numbers, type=kind)


def let_go_of_pages(path: Path) -> None:
    """
    Have the kernel take back the memory of a segment's vectors that was only used for a moment.

    Args:
        path: The segment's file.
    """
    begin = str(path.parent.parent / _FOLDER / f"{path.stem}.")
    for name, content in list(_maps.items()):
        if name.startswith(begin):
            content.madvise(mmap.MADV_DONTNEED)


def remove_unused(partition: Path, used: Collection[str]) -> None:
    """
    Remove the files of segments that are no more, and those that were never finished.

    Args:
        partition: Its folder.

        used: Paths of its segments within it.
    """
    stems = {Path(each).stem for each in used}
    for each in (partition / _FOLDER).glob("*"):
        if each.name.partition(".")[0] not in stems or each.suffix == _DRAFT:
            each.unlink(missing_ok=True)


def _file(path: Path, field: str, number: str) -> Path:
    return path.parent.parent / _FOLDER / f"{path.stem}.{field}.{number}.f32"
