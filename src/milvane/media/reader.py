"""
Images and videos that callers point at: found, fetched, recognised, kept, and decoded.

Satisfies `serving.ports.MediaReader`. Every message is about the one image or video; who asked for
several adds which of them it was.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias
from urllib.parse import unquote

import anyio

from milvane.domain.callers import ANYONE
from milvane.domain.contents import MediaFacts, MediaPart
from milvane.domain.errors import (
    InvalidInput,
    MediaRejected,
    NotFound,
    Overloaded,
    PermissionDenied,
)
from milvane.domain.models import Modality
from milvane.domain.pictures import Seen, Viewing
from milvane.media.buckets import sign_object
from milvane.media.counting import MediaCounts, source_of
from milvane.media.decoding.exchange import Found
from milvane.media.decoding.pool import DecoderPool
from milvane.media.desk import MediaDesk
from milvane.media.errors import AddressExpired
from milvane.media.fetching.fetcher import Fetcher
from milvane.media.keeping.cache import Draft, Held, MediaCache
from milvane.media.kinds import HEAD_BYTES, KINDS, Kind, recognise
from milvane.media.objects import MediaObject, Place
from milvane.media.policy import UNREACHABLE
from milvane.media.reading_settings import MediaReaderSettings
from milvane.media.sources import address_key, read_data, too_large
from milvane.media.store import MediaStore
from milvane.storage.files import FileStore, utc_now

_PATIENCE = 3
_PIECE_BYTES = 1024 * 1024
_NO_OBJECT = "there is no such object in a store that is read here, or it is another tenant's"
_NAMES = {Modality.IMAGE: "an image", Modality.VIDEO: "a video"}

Own: TypeAlias = tuple[MediaStore, MediaObject]
"""An object of the store of media."""


@dataclass(frozen=True, slots=True)
class OwnStores:
    """Where media may be without being fetched."""

    desk: MediaDesk | None = None
    """The store of media, for addresses that it signed, and `oss://bucket/key`."""
    files: FileStore | None = None
    """The store of files, for `oss://` and the key of an upload."""
    buckets: Mapping[str, Fetcher] = field(default_factory=dict)
    """What fetches from buckets elsewhere, by the name that the settings have for them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for, and for whom."""

    part: MediaPart
    tenant: str
    max_bytes: int
    end_s: float
    """When it must be here, by `time.monotonic`."""


class Seeable(Protocol):
    """Media that `GuardedReader.fetch` gave."""

    @property
    def facts(self) -> MediaFacts:
        """What it is."""

    def close(self) -> None:
        """Let go of the bytes."""


class GuardedReader:
    """Gets media and decodes it; its parts are entered and left by who made them."""

    def __init__(
        self,
        settings: MediaReaderSettings,
        cache: MediaCache,
        fetcher: Fetcher,
        decoders: DecoderPool,
        stores: OwnStores,
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._fetcher = fetcher
        self._decoders = decoders
        self._stores = stores
        self.counts = MediaCounts()
        """What came of everything so far."""
        self._turns = _Turns()
        self._fetching = 0

    async def fetch(
        self,
        part: MediaPart,
        *,
        tenant: str = ANYONE.tenant,
        max_bytes: int | None = None,
        time_left_s: float | None = None,
    ) -> Held:
        """Get the bytes of an image or a video, and look what it is; see the port."""
        with self.counts.fetching(source_of(part.source)):
            return await self._fetch_one(part, tenant, max_bytes, time_left_s)

    async def _fetch_one(
        self, part: MediaPart, tenant: str, max_bytes: int | None, time_left_s: float | None
    ) -> Held:
        settings = self._settings
        if self._fetching >= settings.max_waiting:
            raise Overloaded(
                f"{self._fetching} images and videos are being fetched; try again",
                retry_after_s=1.0,
            )
        largest = max(settings.max_image_bytes, settings.max_video_bytes)
        allowed_s = _PATIENCE * settings.timeout_s  # for its turn, for itself, to be looked at
        seconds = allowed_s if time_left_s is None else max(0.0, min(allowed_s, time_left_s))
        wanted = Wanted(
            part,
            tenant,
            largest if max_bytes is None else min(largest, max_bytes),
            end_s=time.monotonic() + seconds,
        )
        self._fetching += 1
        try:
            with anyio.fail_after(seconds):
                held = await self._find(wanted)
        except TimeoutError as error:
            raise MediaRejected(UNREACHABLE) from error
        finally:
            self._fetching -= 1
        try:
            self._check(held.facts, wanted)
        except MediaRejected:
            held.close()
            raise
        return held

    async def see(
        self, media: Seeable, viewing: Viewing, *, time_left_s: float | None = None
    ) -> Seen:
        """Decode an image or a video; see the port."""
        if not isinstance(media, Held):
            raise TypeError("only what fetch has given can be seen")
        facts = media.facts
        with self.counts.decoding(facts.modality):
            if facts.modality is Modality.VIDEO and viewing.clip is None:
                raise MediaRejected("it is a video, and the model takes images only")
            found = Found(facts.width, facts.height, facts.frames, facts.duration_s)
            return await self._decoders.see(
                KINDS[facts.format], media.path, viewing, found, time_left_s=time_left_s
            )

    async def _find(self, wanted: Wanted) -> Held:
        source = wanted.part.source.strip()
        scheme = source.partition(":")[0].lower()
        if scheme == "data":
            content = read_data(source, max_bytes=wanted.max_bytes)
            return await self._keep_all(wanted, partial(_write_all, content))
        if scheme in ("http", "https"):
            return await self._find_address(source, wanted)
        if scheme in ("oss", "s3"):
            return await self._find_object(source, wanted)
        raise MediaRejected(
            "it is named by none of what is read: an http:// or https:// address, a data: URI, or "
            "an object of oss:// or s3://"
        )

    # --- addresses -------------------------------------------------------------------------------

    async def _find_address(self, url: str, wanted: Wanted) -> Held:
        own = await self._find_own(url)
        if own is not None:
            return await self._keep_own(own, wanted)
        self._fetcher.check(url)
        return await self._find_remote(
            _Remote(self._fetcher, url, address_key(url, wanted.tenant)), wanted
        )

    async def _find_remote(self, remote: _Remote, wanted: Wanted) -> Held:
        async with self._turns.of(remote.key):
            known = self._cache.address(remote.key)
            held = None if known is None else await self._cache.find(known.digest)
            if known is None or held is None:
                return await self._fetch(remote, wanted)
            if self._cache.is_fresh(known, self._settings.fresh_s):
                return held
            with closing(held):
                return await self._fetch(remote, wanted, present=held)

    async def _fetch(self, remote: _Remote, wanted: Wanted, present: Held | None = None) -> Held:
        key = remote.key
        known = None if present is None else self._cache.address(key)
        async with self._cache.draft() as draft:
            intake = _Intake(draft, wanted, self._settings)
            fetched = await remote.fetcher.fetch(
                remote.url,
                intake.take,
                max_bytes=wanted.max_bytes,
                tenant=wanted.tenant,
                known=None if known is None else known.validators,
            )
            held: Held | None
            if fetched.is_unchanged and present is not None:
                held = await self._cache.find(present.facts.digest)
            else:
                held = await self._keep(draft, intake.end(), wanted)
        if held is None:  # damaged on the disk since it was found
            return await self._fetch(remote, wanted)
        await self._cache.learn(key, held.facts.digest, fetched.validators)
        return held

    async def _find_own(self, url: str) -> Own | None:
        """Look up what an address of our own store names; none if it is not one."""
        desk = self._stores.desk
        if desk is None:
            return None
        try:
            found = await desk.find_address(url)
        except AddressExpired as error:
            raise MediaRejected("its address has expired: sign it anew") from error
        except (NotFound, PermissionDenied) as error:
            raise MediaRejected(f"its address is refused by the media store: {error}") from error
        except (InvalidInput, ValueError):  # not in our form, so it is not one of ours
            return None
        return None if found is None else (desk.store, found)

    # --- objects here ----------------------------------------------------------------------------

    async def _find_object(self, uri: str, wanted: Wanted) -> Held:
        scheme, _, name = uri.partition("://")
        is_oss = scheme.lower() == "oss"
        for each in dict.fromkeys((name, unquote(name))):  # some clients escape it, others do not
            upload = await self._open_upload(each, wanted.tenant) if is_oss else None
            if upload is not None:
                return await self._keep_file(upload, wanted)
            stored = await self._find_stored(each, wanted.tenant) if is_oss else None
            if stored is not None:
                return await self._keep_own(stored, wanted)
        return await self._find_in_bucket(name, wanted)

    async def _find_in_bucket(self, name: str, wanted: Wanted) -> Held:
        """Fetch an object of a bucket elsewhere that the operator has named."""
        bucket, _, key = name.partition("/")
        fetcher = self._stores.buckets.get(bucket)
        settings = self._settings.buckets.get(bucket)
        if fetcher is None or settings is None or not settings.may_be_read_by(wanted.tenant):
            raise MediaRejected(_NO_OBJECT)
        url = sign_object(settings, bucket, key, utc_now())
        try:
            remote = _Remote(fetcher, url, address_key(url, wanted.tenant))
            return await self._find_remote(remote, wanted)
        except MediaRejected as error:
            # Its host is the operator's: the same words for whatever keeps it from answering.
            is_silent = error.message == UNREACHABLE or "answers with status" in error.message
            raise MediaRejected(_NO_OBJECT) if is_silent else error from error

    async def _open_upload(self, name: str, tenant: str) -> BinaryIO | None:
        if self._stores.files is None:
            return None
        try:
            file = await self._stores.files.find_key(name, tenant=tenant)
            path = self._stores.files.path_of(file)
            return await self._cache.run_file(partial(_open, path))
        except NotFound:
            return None

    async def _find_stored(self, name: str, tenant: str) -> Own | None:
        bucket, _, key = name.partition("/")
        if self._stores.desk is None:
            return None
        try:
            store = self._stores.desk.store
            return store, await store.find(Place(tenant, bucket, key))
        except (NotFound, InvalidInput):
            return None

    # --- keeping ---------------------------------------------------------------------------------

    async def _keep_own(self, own: Own, wanted: Wanted) -> Held:
        """Keep the content of an object of our own store."""
        store, found = own
        held = await self._cache.find(bytes.fromhex(found.content.sha256))
        if held is not None:
            return held
        try:
            _, reading = await store.open(found.place)
        except NotFound as error:  # deleted since it was found
            raise MediaRejected(_NO_OBJECT) from error

        async def write(take: Callable[[bytes], Awaitable[None]]) -> None:
            async for piece in reading.pieces():
                await take(piece)

        async with aclosing(reading):
            return await self._keep_all(wanted, write)

    async def _keep_file(self, file: BinaryIO, wanted: Wanted) -> Held:
        """Keep the content of a file, and close it."""
        with closing(file):

            async def write(take: Callable[[bytes], Awaitable[None]]) -> None:
                while piece := await self._cache.run_file(partial(file.read, _PIECE_BYTES)):
                    await take(piece)

            return await self._keep_all(wanted, write)

    async def _keep_all(
        self,
        wanted: Wanted,
        write: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]],
    ) -> Held:
        async with self._cache.draft() as draft:
            intake = _Intake(draft, wanted, self._settings)
            await write(intake.take)
            return await self._keep(draft, intake.end(), wanted)

    async def _keep(self, draft: Draft, kind: Kind, wanted: Wanted) -> Held:
        size_bytes = draft.size_bytes
        self.counts.arrive(source_of(wanted.part.source), size_bytes)
        digest = await draft.seal()
        held = await self._cache.find(digest)
        if held is not None:
            return held
        left_s = wanted.end_s - time.monotonic()
        found = await self._decoders.look(kind, draft.path, time_left_s=left_s)
        facts = MediaFacts(
            digest=digest,
            modality=kind.modality,
            format=kind.name,
            size_bytes=size_bytes,
            width=found.width,
            height=found.height,
            frames=found.frames,
            duration_s=found.duration_s,
        )
        return await self._cache.add(draft, facts)

    def _check(self, facts: MediaFacts, wanted: Wanted) -> None:
        check_modality(facts.modality, wanted.part.modality)
        max_bytes = min(wanted.max_bytes, largest_of(facts.modality, self._settings))
        if facts.size_bytes > max_bytes:
            raise too_large(max_bytes)


@dataclass(frozen=True, slots=True)
class _Remote:
    """An address, who fetches from it, and what it is remembered by."""

    fetcher: Fetcher
    url: str
    key: bytes


class _Intake:
    """What arrives: recognised by how it begins, and held to the size of its kind."""

    def __init__(self, draft: Draft, wanted: Wanted, settings: MediaReaderSettings) -> None:
        self._draft = draft
        self._wanted = wanted
        self._settings = settings
        self._max_bytes = wanted.max_bytes
        self._kind: Kind | None = None

    async def take(self, piece: bytes) -> None:
        """
        Take the next bytes.

        Raises:
            MediaRejected: If they are no image or video, not the one that is wanted, or too many.
        """
        if self._draft.size_bytes + len(piece) > self._max_bytes:
            raise too_large(self._max_bytes)
        await self._draft.write(piece)
        if self._kind is None and len(self._draft.head) >= HEAD_BYTES:
            self._kind = self._recognise()

    def end(self) -> Kind:
        """Say what it was."""
        return self._kind or self._recognise()

    def _recognise(self) -> Kind:
        kind = recognise(self._draft.head)
        check_modality(kind.modality, self._wanted.part.modality)
        self._max_bytes = min(self._max_bytes, largest_of(kind.modality, self._settings))
        if self._draft.size_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        return kind


class _Turns:
    """One request at a time for what is at one address: the others find what it has found."""

    def __init__(self) -> None:
        self._locks: dict[bytes, _Turn] = {}

    @asynccontextmanager
    async def of(self, key: bytes) -> AsyncIterator[None]:
        turn = self._locks.setdefault(key, _Turn(anyio.Lock()))
        turn.users += 1
        try:
            async with turn.lock:  # guards the one address
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._locks[key]


@dataclass(slots=True)
class _Turn:
    lock: anyio.Lock
    users: int = 0


def check_modality(found: Modality, wanted: Modality | None) -> None:
    """
    Hold media to what the caller says it is.

    Raises:
        MediaRejected: If it is something else.
    """
    if wanted is not None and found is not wanted:
        raise MediaRejected(f"it is {_NAMES[found]}, where {_NAMES.get(wanted, 'text')} is due")


def largest_of(modality: Modality, settings: MediaReaderSettings) -> int:
    """Say how many bytes the operator allows."""
    is_video = modality is Modality.VIDEO
    return settings.max_video_bytes if is_video else settings.max_image_bytes


async def _write_all(content: bytes, take: Callable[[bytes], Awaitable[None]]) -> None:
    for start in range(0, max(len(content), 1), _PIECE_BYTES):
        await take(content[start : start + _PIECE_BYTES])


def _open(path: Path) -> BinaryIO:
    return path.open("rb")
