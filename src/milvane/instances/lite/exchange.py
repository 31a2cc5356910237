"""
The one step in which what a collection holds changes for its readers.

Whatever of a change takes long or may fail is done before: files are written and synced, segments
are read back, deletions are joined, and what readers will see is worked out. What is left is to
put three references in the place of three others, under a lock that is held for nothing else.
"""

# ruff: noqa: SLF001 - memory, segments and deletions are not among Milvus Lite's public names

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milvane.instances.lite.views import views_of

if TYPE_CHECKING:
    from collections.abc import Collection as Several
    from collections.abc import Mapping

    import pyarrow as pa
    from milvus_lite.engine.collection import Collection
    from milvus_lite.storage.delta_index import DeltaIndex
    from milvus_lite.storage.memtable import MemTable
    from milvus_lite.storage.segment import Segment

    from milvane.instances.lite.views import Foresight

    Key = tuple[str, str]
    """Partition, and path within it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a collection is to hold next. Only one is under way at a time."""

    segments: dict[Key, Segment]
    tombstones: DeltaIndex
    memtable: MemTable
    foreseen: Foresight
    """What readers would have to work out."""

    def take_effect(self, collection: Collection) -> None:
        """Let readers who ask from now on see what is new, all of it."""
        views = views_of(collection)
        with nullcontext() if views is None else views.swap:
            collection._segment_cache = self.segments
            collection._delta_index = self.tombstones
            collection._memtable = self.memtable
            if views is not None:
                views.foreseen = self.foreseen


def prepare_exchange(
    collection: Collection,
    *,
    come: Mapping[Key, Segment],
    gone: Several[Key] = (),
    deletions: Several[pa.Table] = (),
    memtable: MemTable | None = None,
) -> Exchange:
    """
    Make ready what a collection is to hold next; nothing changes yet.

    Args:
        collection: Whose maintenance lock is held until the exchange has taken effect, or never
            will: it keeps other changes out.

        come: Segments that join.

        gone: Segments that leave.

        deletions: Those that join the ones on disk.

        memtable: What takes the place of its memory; if not given, that stays.
    """
    stay = {key: each for key, each in collection._segment_cache.items() if key not in gone}
    tombstones = collection._delta_index
    if deletions:
        tombstones = copy.copy(tombstones)  # readers keep the entries that they have
        tombstones._map = dict(tombstones._map)
        for rows in deletions:
            tombstones.add_table(rows)
    segments = {**stay, **come}
    views = views_of(collection)
    return Exchange(
        segments,
        tombstones,
        collection._memtable if memtable is None else memtable,
        {} if views is None else views.foresee(tuple(segments.values()), tombstones),
    )
