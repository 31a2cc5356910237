"""The loop that copies collections from one place to another, page by page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from milvane.domain.errors import Conflict, InvalidInput, NotFound
from milvane.instances.lite.journal import CollectionKey
from milvane.transfer.collections import Collection
from milvane.transfer.columns import Digest, digest_of
from milvane.transfer.places import Source, Target
from milvane.transfer.progress import (
    CollectionProgress,
    Progress,
    Stage,
    from_document,
    to_document,
)


class Interrupted(Exception):
    """Somebody asked to stop; what was written is known, and the transfer can be resumed."""


class Watcher(Protocol):
    """Who is told how far the transfer is."""

    def begin(self, key: CollectionKey, *, rows: int, done: int) -> None:
        """Hear that a collection is begun, with the rows that it has and that are done."""

    def advance(self, key: CollectionKey, rows: int) -> None:
        """Hear that rows were written."""

    def verify(self, key: CollectionKey) -> None:
        """Hear that a collection is being read back."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one collection."""

    key: CollectionKey
    rows_at_source: int
    """When the copy was done; more or fewer than were copied if somebody writes meanwhile."""
    copied: Digest
    found: Digest | None
    """What the target has now; none if it cannot say."""
    notes: tuple[str, ...] = ()
    """What else is not as it was at the source."""

    @property
    def is_whole(self) -> bool:
        """Say whether every row arrived, and arrived as it was."""
        return self.found == self.copied and self.rows_at_source == self.copied.rows


class StateFile:
    """Where progress is kept between attempts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, source: str, target: str, *, is_resumed: bool) -> Progress:
        """
        Read the progress of an earlier attempt, or begin anew.

        Raises:
            Conflict: If there is an earlier attempt and nobody asked to resume it, or it was one
                between other places.
        """
        if not self._path.exists():
            return Progress(source, target)
        try:
            progress = from_document(json.loads(self._path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise InvalidInput(f"{self._path} cannot be read: {error}") from error
        if not is_resumed:
            raise Conflict(
                f"{self._path} is of an unfinished transfer from {progress.source} to "
                f"{progress.target}: go on with --resume, or delete the file to begin anew"
            )
        if (progress.source, progress.target) != (source, target):
            raise Conflict(
                f"{self._path} is of a transfer from {progress.source} to {progress.target}, not "
                f"from {source} to {target}: name those, or another file with --state"
            )
        return progress

    def save(self, progress: Progress) -> None:
        """Replace what is kept, in one step."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.tmp")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(to_document(progress), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def remove(self) -> None:
        """Forget a transfer that is finished."""
        self._path.unlink(missing_ok=True)


def choose(there: Sequence[CollectionKey], wanted: Sequence[str]) -> list[CollectionKey]:
    """
    Pick collections by name.

    Args:
        there: All that the source has.

        wanted: `name`, `database.name` or `database.*`; everything if empty.

    Raises:
        NotFound: If a name means nothing.
    """
    if not wanted:
        return list(there)
    chosen: dict[CollectionKey, None] = {}
    for name in wanted:
        database, _, rest = name.rpartition(".")
        found = [
            key
            for key in there
            if key.database == (database or "default") and rest in {key.name, "*"}
        ]
        if not found:
            known = ", ".join(map(str, there)) or "none"
            raise NotFound(f"there is no collection {name}; the source has: {known}")
        chosen.update(dict.fromkeys(found))
    return list(chosen)


def copy_collections(
    source: Source,
    target: Target,
    keys: Sequence[CollectionKey],
    *,
    progress: Progress,
    save: Callable[[Progress], None],
    watcher: Watcher,
    is_stopped: Callable[[], bool],
) -> list[Outcome]:
    """
    Copy collections, one after the other, and compare what arrived.

    Args:
        source: Where from.

        target: Where to.

        keys: Which collections.

        progress: What an earlier attempt has done.

        save: Keeps progress; called after each page, and before anything is made.

        watcher: Told how far it is.

        is_stopped: Asked between pages.

    Returns:
        What became of each.

    Raises:
        Interrupted: If it was stopped.
    """
    outcomes = []
    for key in keys:
        collection = source.describe(key)
        before = progress.collections.get(key)
        copier = _Copier(source, target, collection, before or CollectionProgress(), watcher)

        def keep(state: CollectionProgress, key: CollectionKey = key) -> None:
            nonlocal progress
            progress = progress.with_collection(key, state)
            save(progress)

        copier.run(keep, is_stopped, is_resumed=before is not None)
        outcomes.append(copier.compare())
    return outcomes


class _Copier:
    """Copies one collection."""

    def __init__(
        self,
        source: Source,
        target: Target,
        collection: Collection,
        state: CollectionProgress,
        watcher: Watcher,
    ) -> None:
        self._source = source
        self._target = target
        self._collection = collection
        self._state = state
        self._watcher = watcher
        self._notes: tuple[str, ...] = ()

    def run(
        self,
        keep: Callable[[CollectionProgress], None],
        is_stopped: Callable[[], bool],
        *,
        is_resumed: bool,
    ) -> None:
        collection, key = self._collection, self._collection.key
        rows = self._source.count(collection)
        self._watcher.begin(key, rows=rows, done=self._state.digest.rows)
        if self._state.stage is Stage.BEGUN:
            if not is_resumed:
                self._target.refuse_existing(key)
            keep(self._state)  # from here on, what is there is ours
            self._target.prepare(collection)
            for partition in collection.partitions:
                self._copy(partition, keep, is_stopped, is_resumed=is_resumed)
            self._change(keep, Stage.COPIED)
        if self._state.stage is Stage.COPIED:
            self._notes = tuple(self._target.finish(collection))
            self._change(keep, Stage.DONE)

    def compare(self) -> Outcome:
        key = self._collection.key
        self._watcher.verify(key)
        return Outcome(
            key,
            self._source.count(self._collection),
            self._state.digest,
            self._target.digest(self._collection),
            self._notes,
        )

    def _change(self, keep: Callable[[CollectionProgress], None], stage: Stage) -> None:
        self._state = replace(self._state, stage=stage)
        keep(self._state)

    def _copy(
        self,
        partition: str,
        keep: Callable[[CollectionProgress], None],
        is_stopped: Callable[[], bool],
        *,
        is_resumed: bool,
    ) -> None:
        after = self._state.of(partition).after
        if is_resumed:
            self._target.rewind(self._collection, partition, after=after)
        pages = self._source.pages(
            self._collection, partition, after=after, max_bytes=self._target.page_bytes
        )
        for page in pages:
            if is_stopped():
                raise Interrupted
            number = self._state.of(partition).pages
            self._target.write(self._collection, partition, page, number=number)
            self._state = self._state.advanced(partition, page.last_key, digest_of(page))
            keep(self._state)
            self._watcher.advance(self._collection.key, page.rows)
