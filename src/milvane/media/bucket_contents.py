"""
Contents in a bucket of an S3-compatible store.

What is in the bucket is in SQL beforehand, as arriving; so whatever a crash leaves there is known,
and no list of the bucket is ever asked for. The bucket is never waited for within a transaction.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
from sqlalchemy import Connection

from milvane.domain.errors import UpstreamUnavailable
from milvane.media.bucket_requests import Bucket, NothingPut
from milvane.media.content_records import (
    ContentState,
    announce,
    find_kept,
    forget,
    give_up,
    let_go,
    list_leaving,
    settle,
)
from milvane.media.contents import Carried, Contents, Reading
from milvane.media.folder import FileReading, open_file
from milvane.media.objects import ContentFacts
from milvane.media.records import take_media_turn
from milvane.storage.database import Database

LOG = logging.getLogger(__name__)

ABANDONED_S = 3600.0
"""What has been arriving for that long is taken for left over."""
_AT_ONCE_S = 5.0
"""How long somebody who has replaced or deleted an object waits for the bucket to remove it."""
_SWEEP_S = 10.0
_SWEPT = 1000
_REMOVED_AT_ONCE = 8


class BucketContents:
    """Keeps new contents in a bucket; satisfies `contents.Contents`."""

    def __init__(
        self,
        database: Database,
        bucket: Bucket,
        beneath: Contents,
        clock: Callable[[], datetime],
    ) -> None:
        """
        Describe a place.

        Args:
            database: Open before anything is called; says which contents are where.

            bucket: Entered, and left after this.

            beneath: Where contents lie that were kept before there was a bucket.

            clock: The time of day.
        """
        self._database = database
        self._bucket = bucket
        self._beneath = beneath
        self._clock = clock

    async def prepare(self) -> None:
        """Make the older place ready; see the port."""
        await self._beneath.prepare()

    async def carry(
        self, draft: Path, content: ContentFacts, check: Callable[[Connection], object]
    ) -> Carried:
        """Put a content into the bucket; see the port."""
        name = f"{content.sha256}-{secrets.token_hex(8)}"

        def work(connection: Connection) -> None:
            check(connection)
            announce(connection, name, content.sha256, self._clock())

        await self._database.write(work)
        file = await self._database.run(partial(open_file, draft))
        source = FileReading(file, content.size_bytes, self._database.run)
        try:
            await self._bucket.put(name, source, content)
        except NothingPut:  # with any other failure it may be there, and a sweep removes it
            await self._database.write(partial(forget, names=[name]))
            raise
        finally:
            await source.aclose()
        return Carried(content, draft, name)

    def keep(self, carried: Carried, connection: Connection) -> None:
        """Have a content that has arrived stay, unless an equal one is there; see the port."""
        if find_kept(connection, carried.content.sha256) is not None:
            settle(connection, carried.name, ContentState.LEAVING)
        elif not settle(connection, carried.name, ContentState.KEPT):
            raise UpstreamUnavailable("the object took too long to be stored; try again")

    async def clear(self, carried: Carried) -> None:
        """Remove the content again where an equal one was there; see the port."""
        sha256 = carried.content.sha256
        names = await self._database.read(lambda each: list_leaving(each, _SWEPT, sha256))
        await self._remove(names, _AT_ONCE_S)

    async def abandon(self, carried: Carried) -> None:
        """Remove what was put and not recorded; see the port."""
        await self._database.write(
            lambda connection: settle(connection, carried.name, ContentState.LEAVING)
        )
        await self.release(carried.content.sha256)

    async def release(self, sha256: str) -> None:
        """Remove a content from the bucket; see the port."""
        await self._beneath.release(sha256)

        def work(connection: Connection) -> Sequence[str]:
            take_media_turn(connection)  # nobody can be just about to record it
            let_go(connection, sha256)
            return list_leaving(connection, _SWEPT, sha256)

        await self._remove(await self._database.write(work), _AT_ONCE_S)

    async def open(self, content: ContentFacts, first: int, length: int) -> Reading | None:
        """Ask the bucket for bytes; see the port."""
        name = await self._database.read(lambda connection: find_kept(connection, content.sha256))
        if name is None:
            return await self._beneath.open(content, first, length)
        try:
            return await self._bucket.get(name, first, length, content.size_bytes)
        except UpstreamUnavailable:
            # To keys that may not list it, Amazon's says 403 of what is not there.
            if await self._database.read(lambda each: find_kept(each, content.sha256)) == name:
                raise
            return None

    async def sweep(self) -> None:
        """Remove what crashes and failures have left in the bucket; see the port."""
        await self._beneath.sweep()
        before = self._clock() - timedelta(seconds=ABANDONED_S)

        def work(connection: Connection) -> Sequence[str]:
            take_media_turn(connection)
            give_up(connection, before)
            let_go(connection)
            return list_leaving(connection, _SWEPT)

        await self._remove(await self._database.write(work), _SWEEP_S)

    async def _remove(self, names: Sequence[str], seconds: float) -> None:
        """Remove contents as far as there is time; the next sweep goes on."""
        waiting, gone = iter(names), list[str]()

        async def remove_next() -> None:
            try:
                for name in waiting:
                    await self._bucket.delete(name)
                    gone.append(name)
            except UpstreamUnavailable:
                group.cancel_scope.cancel()

        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                for _ in range(min(_REMOVED_AT_ONCE, len(names))):
                    group.start_soon(remove_next)
        if gone:
            await self._database.write(partial(forget, names=gone))
        if len(gone) < len(names):
            LOG.warning("%s contents stay in the bucket until a sweep", len(names) - len(gone))
