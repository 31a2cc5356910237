"""Makes records of rows, from the columns that are wanted and no others."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from milvus_lite.storage.segment import Segment

    from milvane.instances.lite.views import View

    Cell = Callable[[int], Any]

_DYNAMIC = "$meta"
_INTERNAL = frozenset({"_seq", "_partition"})
_EVERYTHING = frozenset({"*", _DYNAMIC})


class Materials:
    """What the records of one read are made of; columns are prepared once for all rows."""

    def __init__(self, view: View, key_field: str, output_fields: Sequence[str] | None) -> None:
        """
        Choose the columns.

        Args:
            view: Where the rows are. Its segments are sources from 0 up, its memory comes last.

            key_field: The primary key, which every record has.

            output_fields: What the client asked for; everything if not given.
        """
        self._view = view
        self._key_field = key_field
        self._output_fields = None if output_fields is None else set(output_fields)
        self._columns: dict[tuple[int, int], list[tuple[str, Cell]]] = {}

    def key(self, source: int, row: int) -> Any:
        """Return the primary key of a row."""
        if source < len(self._view.segments):
            return self._view.segments[source].pks[row]
        return self._view.recent.keys[row]

    def record(self, source: int, row: int) -> dict[str, Any]:
        """Return a row as Milvus Lite would: dynamic fields beside the others."""
        batch = 0
        if source == len(self._view.segments):
            batch, row = self._view.recent.places[row]
        columns = self._columns.get((source, batch))
        if columns is None:
            columns = self._columns[source, batch] = self._prepare(source, batch)
        record = {name: cell(row) for name, cell in columns}
        dynamic = record.get(_DYNAMIC)
        if isinstance(dynamic, str):
            try:
                dynamic = json.loads(dynamic)
            except ValueError:
                dynamic = None
        if isinstance(dynamic, dict):
            record.update(dynamic)
        return record

    def _prepare(self, source: int, batch: int) -> list[tuple[str, Cell]]:
        if source < len(self._view.segments):
            segment = self._view.segments[source]
            names = self._wanted(segment.table.schema.names)
            return [(name, _cell_of_segment(segment, name)) for name in names]
        rows = self._view.recent.batches[batch]
        names = self._wanted(rows.schema.names)
        return [(name, partial(_cell, rows.column(name))) for name in names]

    def _wanted(self, names: Sequence[str]) -> list[str]:
        present = [name for name in names if name not in _INTERNAL]
        asked = self._output_fields
        if asked is None or asked & _EVERYTHING:
            return present
        wanted = asked | {self._key_field}
        if not asked <= set(present):
            wanted.add(_DYNAMIC)
        return [name for name in present if name in wanted]


def _cell_of_segment(segment: Segment, name: str) -> Cell:
    column = segment.table.column(name)
    if pa.types.is_fixed_size_list(column.type) and column.null_count == 0:
        vectors = segment.vector_data(name)[0]
        return lambda row: vectors[row].tolist()
    return partial(_cell, column)


def _cell(column: Any, row: int) -> Any:
    return column[row].as_py()
