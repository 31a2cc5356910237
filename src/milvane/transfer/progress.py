"""How far a transfer has come: what is written down so that it can be resumed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from milvane.domain.errors import InvalidInput
from milvane.instances.lite.journal import CollectionKey
from milvane.transfer.columns import Digest, Key

_FORMAT = 1


class Stage(Enum):
    """How far one collection is."""

    BEGUN = "begun"
    """It may have been made at the other side."""
    COPIED = "copied"
    """All rows are there."""
    DONE = "done"
    """Indexes, aliases and all else are there."""


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far one partition is."""

    after: Key | None = None
    """The highest key that was written and acknowledged."""
    pages: int = 0
    digest: Digest = field(default_factory=Digest)


@dataclass(frozen=True, slots=True)
class CollectionProgress:
    """How far one collection is."""

    stage: Stage = Stage.BEGUN
    partitions: Mapping[str, PartitionProgress] = field(default_factory=dict)

    @property
    def digest(self) -> Digest:
        """Sum up what was copied so far."""
        return sum((each.digest for each in self.partitions.values()), Digest())

    def of(self, partition: str) -> PartitionProgress:
        """Say how far a partition is."""
        return self.partitions.get(partition, PartitionProgress())

    def advanced(self, partition: str, last_key: Key, digest: Digest) -> CollectionProgress:
        """Add a page that was written."""
        before = self.of(partition)
        after = PartitionProgress(last_key, before.pages + 1, before.digest + digest)
        return replace(self, partitions={**self.partitions, partition: after})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is."""

    source: str
    target: str
    collections: Mapping[CollectionKey, CollectionProgress] = field(default_factory=dict)

    def with_collection(self, key: CollectionKey, progress: CollectionProgress) -> Progress:
        """Replace what is known of one collection."""
        return replace(self, collections={**self.collections, key: progress})


def to_document(progress: Progress) -> dict[str, Any]:
    """Write progress as JSON."""
    return {
        "format": _FORMAT,
        "from": progress.source,
        "to": progress.target,
        "collections": [
            {
                "database": key.database,
                "name": key.name,
                "stage": each.stage.value,
                "partitions": {
                    name: {
                        "after": partition.after,
                        "pages": partition.pages,
                        "rows": partition.digest.rows,
                        "checksum": str(partition.digest),
                    }
                    for name, partition in each.partitions.items()
                },
            }
            for key, each in progress.collections.items()
        ],
    }


def from_document(document: Mapping[str, Any]) -> Progress:
    """
    Read progress from JSON.

    Raises:
        InvalidInput: If it is not one that this version can read.
    """
    try:
        if document["format"] != _FORMAT:
            raise InvalidInput("the state of the transfer was written by another version")
        return Progress(
            document["from"],
            document["to"],
            {
                CollectionKey(each["database"], each["name"]): CollectionProgress(
                    Stage(each["stage"]),
                    {
                        name: PartitionProgress(
                            partition["after"],
                            partition["pages"],
                            Digest(partition["rows"], int(partition["checksum"], 16)),
                        )
                        for name, partition in each["partitions"].items()
                    },
                )
                for each in document["collections"]
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"the state of the transfer is damaged: {error!r}") from error
