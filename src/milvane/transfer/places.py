"""The ports: where collections come from, and where they go to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from milvane.instances.lite.journal import CollectionKey
from milvane.transfer.collections import Collection
from milvane.transfer.columns import Digest, Key, Page


class Source(Protocol):
    """Where collections are read from."""

    @property
    def name(self) -> str:
        """The place, as a person would name it."""

    def keys(self) -> list[CollectionKey]:
        """List the collections of all databases."""

    def describe(self, key: CollectionKey) -> Collection:
        """
        Describe a collection.

        Raises:
            NotFound: If there is none.
        """

    def count(self, collection: Collection) -> int:
        """Count the rows of a collection."""

    def pages(
        self, collection: Collection, partition: str, *, after: Key | None, max_bytes: int
    ) -> Iterator[Page]:
        """
        Read a partition's rows in the order of their keys.

        Args:
            collection: What to read.

            partition: Which part of it.

            after: The key to begin behind; none to begin at the first.

            max_bytes: About how large a page may be.
        """


class Target(Protocol):
    """Where collections are written to."""

    @property
    def name(self) -> str:
        """The place, as a person would name it."""

    @property
    def page_bytes(self) -> int:
        """About how large a page should be."""

    def refuse_existing(self, key: CollectionKey) -> None:
        """
        See that a name is free.

        Raises:
            Conflict: If there is a collection of that name.
        """

    def prepare(self, collection: Collection) -> None:
        """Make a collection and its partitions, unless they are there, ready to take rows."""

    def rewind(self, collection: Collection, partition: str, *, after: Key | None) -> None:
        """Remove what an earlier attempt may have written behind a key."""

    def write(self, collection: Collection, partition: str, page: Page, *, number: int) -> None:
        """
        Write rows; when this returns they are there to stay.

        Args:
            collection: Where to.

            partition: Which part of it.

            page: The rows.

            number: How many pages of this partition were written before.
        """

    def finish(self, collection: Collection) -> list[str]:
        """
        Make what rows do not need: indexes, aliases, properties, loading. May be repeated.

        Returns:
            What is not as it was at the source, in words.
        """

    def digest(self, collection: Collection) -> Digest | None:
        """Read all rows back; none if the place cannot read them."""
