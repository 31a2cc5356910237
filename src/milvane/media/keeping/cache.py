"""
Files of images and videos, under the digest of their bytes, and what was found out about each.

Everything but the files and their index belongs to the event loop; those two belong to one thread.
Whoever uses a file holds it, and it stays as long; of the others, those unused for longest make
room. A crash costs what was being written: a file takes its name when it is complete, and one that
was there before this start is compared with its digest before it is used for the first time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import sqlite3
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from milvane.domain.contents import MediaFacts
from milvane.domain.errors import Overloaded, UpstreamUnavailable
from milvane.media.fetching.fetcher import Validators
from milvane.media.keeping.index import KnownAddress, MediaIndex
from milvane.media.kinds import HEAD_BYTES

LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

_BUFFER_BYTES = 1024 * 1024
_MAX_ADDRESSES = 200_000


class MediaCache:
    """Keeps files; usable while entered. One server has its folder alone."""

    def __init__(
        self, folder: Path, max_bytes: int, *, clock: Callable[[], float] = time.time
    ) -> None:
        """
        Describe the cache.

        Args:
            folder: Made if it is not there.

            max_bytes: Of all files together, those being written included.

            clock: Seconds since 1970.
        """
        self._contents_dir = folder / "contents"
        self._drafts_dir = folder / "incoming"
        self._index = MediaIndex(folder / "index.sqlite")
        self._max_bytes = max_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "milvane-media-cache")
        self._facts: OrderedDict[bytes, MediaFacts] = OrderedDict()
        """Of every file, those unused for longest first."""
        self._addresses: OrderedDict[bytes, KnownAddress] = OrderedDict()
        self._used_at: dict[bytes, float] = {}
        """Of files that were used since the start."""
        self._unchecked: set[bytes] = set()
        """Files from before the start that were not compared with their digests yet."""
        self._held: Counter[bytes] = Counter()
        self._kept_bytes = 0
        self._draft_bytes = 0

    async def __aenter__(self) -> Self:
        """Find out what is here, and remove what a crash has left."""
        try:
            facts, addresses = await self._run(self._open)
        except (OSError, sqlite3.Error) as error:
            raise UpstreamUnavailable(f"the folder of media cannot be used: {error}") from error
        self._facts = OrderedDict((each.digest, each) for each in facts)
        self._unchecked = set(self._facts)
        self._addresses = OrderedDict(addresses)
        self._kept_bytes = sum(each.size_bytes for each in facts)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record what was used, and close."""
        with suppress(OSError, sqlite3.Error):
            await self._run(partial(self._index.write_uses, list(self._used_at.items())))
        await self._run(self._index.close)
        self._thread.shutdown()

    @property
    def kept_bytes(self) -> int:
        """What all files take, those being written included."""
        return self._kept_bytes + self._draft_bytes

    async def find(self, digest: bytes) -> Held | None:
        """Hold the file of a digest; none if there is none, or it is not what it should be."""
        facts = self._facts.get(digest)
        if facts is None:
            return None
        held = self._hold(facts)
        if digest in self._unchecked and not await self._is_whole(facts):
            held.close()
            await self._forget([digest])
            return None
        self._unchecked.discard(digest)
        return held

    def address(self, key: bytes) -> KnownAddress | None:
        """Say what an address held; none if that is not known, or not here any more."""
        known = self._addresses.get(key)
        return known if known is not None and known.digest in self._facts else None

    async def learn(self, key: bytes, digest: bytes, validators: Validators) -> None:
        """Remember what an address holds now."""
        known = KnownAddress(digest, validators, self._clock())
        self._addresses[key] = known
        self._addresses.move_to_end(key)
        old: list[bytes] = []
        while len(self._addresses) > _MAX_ADDRESSES:
            old.append(self._addresses.popitem(last=False)[0])

        def work() -> None:
            self._index.write_address(key, known)
            if old:
                self._index.remove((), old)

        await self._try(work)

    def is_fresh(self, known: KnownAddress, fresh_s: float) -> bool:
        """Say whether a server was asked so lately that it need not be asked again."""
        return 0 <= self._clock() - known.asked_at < fresh_s

    def draft(self) -> Draft:
        """Begin a file whose bytes are to come; use as a context."""
        return Draft(self, self._drafts_dir / secrets.token_hex(16))

    async def add(self, draft: Draft, facts: MediaFacts) -> Held:
        """Keep a complete draft under its digest, and hold it."""
        await self._file(partial(draft.path.replace, self._path(facts.digest)))
        draft.give_up_room()
        if facts.digest not in self._facts:  # nobody else was quicker
            self._kept_bytes += facts.size_bytes
        self._unchecked.discard(facts.digest)
        self._facts[facts.digest] = facts
        held = self._hold(facts)
        await self._try(partial(self._index.write_content, facts, self._clock()))
        return held

    async def reserve(self, count: int) -> None:
        """
        Make room for bytes of a draft.

        Raises:
            Overloaded: If all that is here is in use.
        """
        self._draft_bytes += count
        if self.kept_bytes > self._max_bytes:
            await self._forget(self._unused(self.kept_bytes - self._max_bytes))
        if self.kept_bytes > self._max_bytes:
            raise Overloaded(
                "all the room for images and videos is in use (media_reader.cache_bytes); try "
                "again, with fewer at once",
                retry_after_s=1.0,
            )

    def _unused(self, count: int) -> list[bytes]:
        """Choose what was unused for longest, until it comes to so many bytes."""
        chosen = []
        for digest, facts in self._facts.items():
            if count <= 0:
                break
            if not self._held[digest]:
                chosen.append(digest)
                count -= facts.size_bytes
        return chosen

    def release(self, count: int) -> None:
        """Give back the room of a draft that is no draft any more."""
        self._draft_bytes -= count

    def let_go(self, digest: bytes) -> None:
        """Hold a file no more."""
        self._held[digest] -= 1
        if self._held[digest] <= 0:
            del self._held[digest]

    async def run_file(self, work: Callable[[], _T]) -> _T:
        """
        Do something with a file, in the thread that files belong to.

        Raises:
            UpstreamUnavailable: If the disk does not let us.
        """
        return await self._file(work)

    def _hold(self, facts: MediaFacts) -> Held:
        self._facts.move_to_end(facts.digest)
        self._used_at[facts.digest] = self._clock()
        self._held[facts.digest] += 1
        return Held(self, facts, self._path(facts.digest))

    async def _is_whole(self, facts: MediaFacts) -> bool:
        def work() -> bool:
            with self._path(facts.digest).open("rb") as file:
                digest = hashlib.sha256()
                while piece := file.read(_BUFFER_BYTES):
                    digest.update(piece)
            return digest.digest() == facts.digest

        try:
            return await self._run(work)
        except OSError:
            return False

    async def _forget(self, digests: list[bytes]) -> None:
        for digest in digests:
            facts = self._facts.pop(digest, None)
            if facts is not None:
                self._kept_bytes -= facts.size_bytes
            self._used_at.pop(digest, None)
            self._unchecked.discard(digest)

        def work() -> None:
            self._index.remove(digests)
            for digest in digests:
                self._path(digest).unlink(missing_ok=True)

        await self._try(work)

    async def _try(self, work: Callable[[], None]) -> None:
        """Write to the index; that it cannot be written costs what is known after a restart."""
        try:
            await self._run(work)
        except (OSError, sqlite3.Error) as error:
            LOG.warning("the index of media cannot be written: %s", error)

    async def _file(self, work: Callable[[], _T]) -> _T:
        try:
            return await self._run(work)
        except OSError as error:
            LOG.warning("an image or a video cannot be kept: %s", error)
            raise UpstreamUnavailable(
                f"an image or a video cannot be kept: {error.strerror}"
            ) from error

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _path(self, digest: bytes) -> Path:
        return self._contents_dir / digest.hex()

    def _open(self) -> tuple[list[MediaFacts], list[tuple[bytes, KnownAddress]]]:
        for folder in (self._contents_dir, self._drafts_dir):
            folder.mkdir(parents=True, exist_ok=True)
        for left in self._drafts_dir.iterdir():
            left.unlink()
        self._index.open()
        here = {path.name: path for path in self._contents_dir.iterdir()}
        known = [facts for facts, _ in self._index.read_contents()]
        whole = [facts for facts in known if _has_size(here.get(facts.digest.hex()), facts)]
        names = {facts.digest.hex() for facts in whole}
        for name, path in here.items():
            if name not in names:
                path.unlink()
        self._index.remove([facts.digest for facts in known if facts.digest.hex() not in names])
        return whole, self._index.read_addresses()


def _has_size(path: Path | None, facts: MediaFacts) -> bool:
    return path is not None and path.stat().st_size == facts.size_bytes


class Held:
    """A kept file that somebody uses."""

    def __init__(self, cache: MediaCache, facts: MediaFacts, path: Path) -> None:
        self.facts = facts
        """What it is."""
        self.path = path
        """Where it is; stays so until this is closed."""
        self._cache = cache
        self._is_open = True

    def close(self) -> None:
        """Let go of the bytes; may be called twice."""
        if self._is_open:
            self._is_open = False
            self._cache.let_go(self.facts.digest)

    def __del__(self) -> None:
        """Let go of what nobody got: whoever waited for it was cancelled."""
        self.close()


class Draft:
    """A file that is being written: use as a context, write, and seal."""

    def __init__(self, cache: MediaCache, path: Path) -> None:
        self._cache = cache
        self.path = path
        """Where it is; complete once it is sealed."""
        self.size_bytes = 0
        self.head = b""
        """The first `HEAD_BYTES`, as far as they are here."""
        self._buffer = bytearray()
        self._sha256 = hashlib.sha256()
        self._file: BufferedWriter | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what has been written, unless it is kept by now."""
        self.give_up_room()
        with suppress(UpstreamUnavailable):
            await asyncio.shield(self._cache.run_file(self._discard))

    def give_up_room(self) -> None:
        """Count as a draft no more."""
        self._cache.release(self.size_bytes)
        self.size_bytes = 0

    async def write(self, piece: bytes) -> None:
        """
        Take the next bytes.

        Raises:
            Overloaded: If there is no room.
            UpstreamUnavailable: If the disk does not let us.
        """
        if len(self.head) < HEAD_BYTES:
            self.head += piece[: HEAD_BYTES - len(self.head)]
        self.size_bytes += len(piece)
        await self._cache.reserve(len(piece))
        self._buffer += piece
        if len(self._buffer) >= _BUFFER_BYTES:
            await self._cache.run_file(self._flush)

    async def seal(self) -> bytes:
        """
        End the file.

        Returns:
            The SHA-256 of its bytes.
        """
        return await self._cache.run_file(self._seal)

    def _flush(self) -> None:
        if self._file is None:
            self._file = self.path.open("xb")
        self._file.write(self._buffer)
        self._sha256.update(self._buffer)
        self._buffer.clear()

    def _seal(self) -> bytes:
        self._flush()
        if self._file is not None:
            self._file.close()
        return self._sha256.digest()

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self.path.unlink(missing_ok=True)
