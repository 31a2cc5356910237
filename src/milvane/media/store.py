"""
The media store: contents under their digests, names in SQL.

A content is written as a draft and brought to where contents are kept; one transaction then records
it under its name. What a crash leaves is unrecorded, and is removed at the start, and in every hour
in which something is stored or deleted.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from milvane.domain.errors import Conflict, UpstreamUnavailable
from milvane.media.arriving import Arrival, Desktop, Incoming, remove_drafts
from milvane.media.contents import Carried, Contents, Reading
from milvane.media.errors import NoSuchObject
from milvane.media.objects import ContentFacts, MediaObject, Place, check_bucket, check_key
from milvane.media.records import (
    Listing,
    check_room,
    list_objects,
    read_object,
    remove_object,
    take_media_turn,
    write_object,
)
from milvane.media.settings import MediaSettings
from milvane.storage.database import Database
from milvane.storage.files import utc_now

logger = logging.getLogger(__name__)

_SWEEP_S = 3600.0
_LOOKS = 5
"""How often an object is looked up whose content is replaced meanwhile, again and again."""


def _whole(found: MediaObject) -> tuple[int, int]:
    return 0, found.content.size_bytes


class MediaStore:
    """Keeps objects between calls and between processes; an object is its tenant's."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        settings: MediaSettings,
        contents: Contents,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """
        Describe a store; `prepare` makes it ready.

        Args:
            database: Open before anything is called.

            folder: Where drafts are written.

            settings: Limits.

            contents: Where contents are kept.

            clock: The time of day.
        """
        self.database = database
        self.settings = settings
        self.clock = clock
        self._contents = contents
        self._desktop = Desktop(folder / "incoming", settings.max_object_bytes, database.run)
        self._swept_at = clock()

    async def prepare(self) -> None:
        """Make the folders, and remove what crashes have left in them."""
        self._desktop.folder.mkdir(parents=True, exist_ok=True)
        await self._contents.prepare()
        await self._sweep()

    async def _sweep(self) -> None:
        """Remove what nobody has recorded and nobody is writing, of other servers too."""
        self._swept_at = self.clock()
        await self.database.run(partial(remove_drafts, self._desktop.folder))
        await self._contents.sweep()

    async def _sweep_in_time(self) -> None:
        if (self.clock() - self._swept_at).total_seconds() > _SWEEP_S:
            try:
                await self._sweep()
            except Exception:  # what was asked for is done; clearing up is tried again
                logger.exception("what crashes have left cannot be removed")

    def receive(self, arrival: Arrival) -> Incoming:
        """
        Begin to take in an object whose content arrives in pieces.

        Returns:
            A context; the object exists once `complete` has returned, else nothing has changed.

        Raises:
            BadBucketName, BadObjectName: If nothing can be there.
        """
        check_bucket(arrival.place.bucket)
        check_key(arrival.place.key)
        return Incoming(self, arrival, self._desktop)

    async def find(self, place: Place) -> MediaObject:
        """
        Look an object up.

        Raises:
            NoSuchObject: If nothing is there.
        """
        found = await self.database.read(lambda connection: read_object(connection, place))
        if found is None:
            raise NoSuchObject("The specified key does not exist.")
        return found

    async def open(
        self, place: Place, choose: Callable[[MediaObject], tuple[int, int]] = _whole
    ) -> tuple[MediaObject, Reading]:
        """
        Open an object's content, which stays as it is while it is read.

        Args:
            place: Where it is.

            choose: Says of which byte on, counted from 0, and how many; all of them by default.

        Returns:
            The object, and its bytes, which the caller closes.

        Raises:
            NoSuchObject: If nothing is there.
            UpstreamUnavailable: If where contents are kept does not answer.
        """
        for _ in range(_LOOKS):
            found = await self.find(place)
            reading = await self._contents.open(found.content, *choose(found))
            if reading is not None:
                return found, reading
        raise UpstreamUnavailable("the object cannot be read at the moment; try again")

    async def delete(self, place: Place) -> None:
        """Remove what is at a place, if there is anything."""
        sha256 = await self.database.write(lambda connection: remove_object(connection, place))
        if sha256 is not None:
            await self._contents.release(sha256)
        await self._sweep_in_time()

    async def list_objects(self, listing: Listing) -> list[MediaObject]:
        """List a tenant's objects of a bucket, by the order of their names."""
        return await self.database.read(lambda connection: list_objects(connection, listing))

    async def add(self, draft: Path, arrival: Arrival, content: ContentFacts) -> MediaObject:
        """
        Make a durable draft the content of an object, in the place of what is there.

        Raises:
            QuotaExceeded: If the store is full.
            Conflict: If something is there and may not be replaced.
            UpstreamUnavailable: If where contents are kept does not answer.
        """
        found = MediaObject(
            arrival.place,
            content,
            arrival.content_type,
            self.clock(),
            arrival.headers,
        )
        check = partial(self._check, arrival, found)
        carried = await self._contents.carry(draft, content, check)
        try:
            replaced = await self.database.write(partial(self._add, carried, arrival, found))
        except BaseException:
            # What was carried and not recorded goes; if this fails, a sweep does it.
            with contextlib.suppress(Exception):
                await self._contents.abandon(carried)
            raise
        await self._contents.clear(carried)
        if replaced is not None and replaced.content.sha256 != content.sha256:
            await self._contents.release(replaced.content.sha256)
        await self._sweep_in_time()
        return found

    def _check(
        self, arrival: Arrival, found: MediaObject, connection: Connection
    ) -> MediaObject | None:
        """Give what is replaced, if an object may be kept."""
        present = read_object(connection, arrival.place)
        if present is not None and arrival.forbids_overwriting:
            raise Conflict("The object you specified already exists and can not be overwritten.")
        check_room(self.settings, found, connection)
        return present

    def _add(
        self, carried: Carried, arrival: Arrival, found: MediaObject, connection: Connection
    ) -> MediaObject | None:
        take_media_turn(connection)
        present = self._check(arrival, found, connection)
        self._contents.keep(carried, connection)
        write_object(connection, found)
        return present
