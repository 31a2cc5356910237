"""
What Milvus Lite does not remember by itself: releases, and removals that were under way.

Lite opens every indexed collection released, whatever it was before; and it removes, truncates and
renames a collection in several steps, between which a death leaves a half. The intent is written
here first and taken back afterwards, so that `recovery` can finish what was begun.
"""

from __future__ import annotations

import json
import os
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE_NAME = "milvane-lite.json"


class CollectionKey(NamedTuple):
    """A collection by its own name, never by an alias."""

    database: str
    name: str

    def __str__(self) -> str:
        return self.name if self.database == "default" else f"{self.database}.{self.name}"


class Action(Enum):
    """A change of a collection that takes several steps."""

    DROP = "drop"
    TRUNCATE = "truncate"
    RENAME = "rename"


class Intent(NamedTuple):
    """A change that was begun: what, on which collection, and what is needed to finish it."""

    action: Action
    key: CollectionKey
    facts: dict[str, Any]


class Journal:
    """The file that holds the intents and the released collections; one writer: the process."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self.released: frozenset[CollectionKey] = frozenset()
        self.intents: tuple[Intent, ...] = ()
        if self._path.exists():
            self._read(json.loads(self._path.read_text(encoding="utf-8")))

    def remember_released(self, released: Iterable[CollectionKey]) -> None:
        """Replace the set of collections that were released on purpose."""
        wanted = frozenset(released)
        if wanted != self.released:
            self.released = wanted
            self._write()

    def begin(self, action: Action, key: CollectionKey, **facts: Any) -> Intent:
        """Write an intent down before its first step."""
        intent = Intent(action, key, facts)
        self.intents = (*self.intents, intent)
        self._write()
        return intent

    def finish(self, intent: Intent) -> None:
        """Take an intent back after its last step."""
        self.intents = tuple(each for each in self.intents if each is not intent)
        self._write()

    def _read(self, document: dict[str, Any]) -> None:
        self.released = frozenset(CollectionKey(*pair) for pair in document["released"])
        self.intents = tuple(
            Intent(Action(each["action"]), CollectionKey(*each["collection"]), each["facts"])
            for each in document["intents"]
        )

    def _write(self) -> None:
        document = {
            "released": sorted(self.released),
            "intents": [
                {"action": each.action.value, "collection": each.key, "facts": each.facts}
                for each in self.intents
            ],
        }
        draft = self._path.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
