"""
Where the bytes of objects lie: the port behind the store, and what its two places share.

A place never decides which objects there are: SQL does, and a place keeps what SQL names.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from milvane.domain.errors import UpstreamUnavailable
from milvane.media.objects import ContentFacts

PIECE_BYTES = 256 * 1024
"""Of a content, at once in memory."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Carried:
    """A content that is where it will be kept, or is about to be; no object has it yet."""

    content: ContentFacts
    draft: Path
    """The file that it was written to."""
    name: str
    """What its place calls it."""


class Reading(Protocol):
    """Some of a content's bytes: read once, and closed by who opened them."""

    def pieces(self) -> AsyncIterator[bytes]:
        """
        Give the bytes in their order.

        Raises:
            UpstreamUnavailable: If not all of them come.
        """

    async def aclose(self) -> None:
        """Let go of it."""


class Contents(Protocol):
    """Keeps contents by their digests; equal ones once."""

    async def prepare(self) -> None:
        """Make ready."""

    async def carry(
        self, draft: Path, content: ContentFacts, check: Callable[[Connection], object]
    ) -> Carried:
        """
        Do what takes long, outside of any transaction.

        Args:
            draft: Durable, and complete.

            content: What is in it.

            check: Raises in a transaction if the object may not be kept, as far as is known now.

        Raises:
            UpstreamUnavailable: If the place does not answer; nothing has changed.
        """

    def keep(self, carried: Carried, connection: Connection) -> None:
        """
        Keep a content, in the transaction that records an object with it, whose turn it is.

        Raises:
            UpstreamUnavailable: If it is not there any more, or cannot be written.
        """

    async def clear(self, carried: Carried) -> None:
        """Remove what has turned out not to be needed of a content that is recorded now."""

    async def abandon(self, carried: Carried) -> None:
        """Remove a content whose transaction has failed, unless it was recorded all the same."""

    async def release(self, sha256: str) -> None:
        """Remove a content that no object has any more; what cannot be now, the next sweep does."""

    async def open(self, content: ContentFacts, first: int, length: int) -> Reading | None:
        """
        Open some of a content's bytes, which stay what they are while they are read.

        Args:
            content: Which one.

            first: The first byte's number, from 0.

            length: How many, all of which are there.

        Returns:
            The bytes; none if the content is gone.

        Raises:
            UpstreamUnavailable: If the place does not answer.
        """

    async def sweep(self) -> None:
        """Remove what no object has and nobody is just writing, whoever left it."""


def disk_failure(error: OSError) -> UpstreamUnavailable:
    """Say that the disk does not do what it should."""
    logger.error("cannot write an object: %s", error)
    return UpstreamUnavailable(f"the object cannot be stored: {error.strerror}")


def cut_short() -> UpstreamUnavailable:
    """Say that a content has ended before its end."""
    return UpstreamUnavailable("the object ends before all of it has come; try again")
