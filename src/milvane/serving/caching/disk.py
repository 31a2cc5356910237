"""
Vectors on the disk, in a SQLite file within a bound of size.

Written in the background and in groups; what is not written yet at a crash is computed again. A
full disk or a damaged file costs the cache, never a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from milvane.serving.caching.membership import Membership
from milvane.serving.caching.sqlite_file import Damaged, Failed, Found, VectorFile

LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

GROUP_VECTORS = 512
"""Vectors that are written at once, in about 10 ms."""

WAIT_S = 0.25
"""How long fewer than these wait for others."""

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""What may wait for a slow disk; more is not kept."""

PAUSE_S = 60.0
"""How long a disk that failed is left alone."""

VECTOR_BYTES = 1536
"""What a vector is taken for where only their number counts: 384 numbers."""


@dataclass(slots=True)
class DiskCounts:
    """What the disk did since the start."""

    written: int = 0
    dropped: int = 0
    """Vectors that were not written: the disk failed, or was too slow."""
    failures: int = 0


class DiskVectors:
    """
    Keeps vectors by key; usable while entered, and as if empty while the disk does not work.

    Everything but the file belongs to the event loop. The file has one connection that reads and
    one that writes, each used in a thread of its own.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Describe the file.

        Args:
            path: Where it is; its folder is made.

            max_bytes: What it may take; the oldest vectors make room.

            clock: Seconds that never go back.
        """
        self.counts = DiskCounts()
        self._path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._reading = VectorFile(path, max_bytes)
        self._writing = VectorFile(path, max_bytes)
        self._reader = ThreadPoolExecutor(1, "milvane-cache-read")
        self._writer = ThreadPoolExecutor(1, "milvane-cache-write")
        self._known: Membership | None = None
        """None until the file's keys are known."""
        self._recent: Membership | None = None
        """What was put since they are being read; none while they are not."""
        self._known_keys = 0
        self._waiting: dict[bytes, bytes] = {}
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._left_alone_until = 0.0
        self._has_warned = False
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Begin to open the file; until it is open, nothing is found."""
        self._is_open = True
        self._begin(self._open())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what waits, and close."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        await self.settled()
        await self._write_all()
        await self._in(self._reader, self._reading.close)
        await self._in(self._writer, self._writing.close)
        self._reader.shutdown()
        self._writer.shutdown()

    async def settled(self) -> None:
        """Wait until nothing is under way in the background."""
        while self._work:
            await asyncio.wait(self._work)

    def candidates(self, keys: Iterable[bytes]) -> list[bytes]:
        """Say which keys are worth a look; those that are not there are left out, but for a few."""
        if self._known is None:
            return []
        return [key for key in keys if self._known.may_hold(key)]

    async def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Read the vectors of those keys that are there and whole."""
        found = {key: self._waiting[key] for key in keys if key in self._waiting}
        asked = [key for key in keys if key not in found]
        if not asked or self._is_left_alone():
            return found
        try:
            read: Found = await self._in(self._reader, partial(self._reading.read, asked))
        except Failed as failure:
            self._suffer(failure)
            return found
        if read.ageing:  # used, so it should not be the next that makes room
            self.put({key: read.vectors[key] for key in read.ageing})
        return found | read.vectors

    def put(self, vectors: dict[bytes, bytes]) -> None:
        """Keep vectors; they are written soon, in the background."""
        if self._is_left_alone() or self._waiting_bytes > MAX_WAITING_BYTES:
            self.counts.dropped += len(vectors)
            return
        self._waiting.update(vectors)
        self._waiting_bytes += sum(map(len, vectors.values()))
        for membership in (self._known, self._recent):
            if membership is not None:
                for key in vectors:
                    membership.add(key)
        if self._is_open and self._timer is None:
            delay_s = 0.0 if len(self._waiting) >= GROUP_VECTORS else WAIT_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._write_soon)

    def _write_soon(self) -> None:
        self._begin(self._write_all())

    async def _write_all(self) -> None:
        while self._waiting:
            group = dict(list(self._waiting.items())[:GROUP_VECTORS])
            try:
                await self._in(self._writer, partial(self._writing.write, group))
            except Failed as failure:
                self.counts.dropped += len(self._waiting)
                self._waiting, self._waiting_bytes = {}, 0
                self._suffer(failure)
                break
            self.counts.written += len(group)
            for key in group:
                self._waiting_bytes -= len(self._waiting.pop(key))
            self._known_keys += len(group)
        self._timer = None
        # It may never have been read, or most of what is known has long made room.
        is_stale = self._known is None or self._known_keys > 2 * self._expected_keys()
        if is_stale and self._is_open and not self._is_left_alone():
            self._begin(self._learn())

    async def _open(self) -> None:
        try:
            await self._in(self._writer, self._writing.open)
            await self._in(self._reader, self._reading.open)
        except Failed as failure:
            self._suffer(failure)
        else:
            await self._learn()

    async def _learn(self) -> None:
        """Find out anew which keys are there; what is put meanwhile is known as well."""
        if self._recent is not None:
            return  # it is being found out already
        known, self._recent = Membership(self._expected_keys()), Membership(self._expected_keys())
        self._recent.add_all(list(self._waiting))
        try:
            self._known_keys = await self._in(
                self._reader, partial(self._reading.tell_keys, known.add_all)
            )
        except Failed as failure:
            self._suffer(failure)
        else:
            known.join(self._recent)
            self._known = known
        self._recent = None

    def _expected_keys(self) -> int:
        return self._max_bytes // VECTOR_BYTES

    def _suffer(self, failure: Failed) -> None:
        """Leave the disk alone for a while; begin with an empty file if this one is damaged."""
        self.counts.failures += 1
        if not self._has_warned:  # once: a full disk would fill the log as well
            self._has_warned = True
            LOG.warning(
                "the cache %s does not work, vectors are computed again: %s", self._path, failure
            )
        self._left_alone_until = self._clock() + PAUSE_S
        if isinstance(failure, Damaged) and self._is_open:
            self._begin(self._start_over())

    async def _start_over(self) -> None:
        self._known = None
        await self._in(self._reader, self._reading.close)
        try:
            await self._in(self._writer, self._writing.replace)
            await self._in(self._reader, self._reading.open)
        except Failed as failure:
            LOG.warning("the cache %s cannot be made anew: %s", self._path, failure)
            return
        self._left_alone_until = 0.0
        await self._learn()

    def _is_left_alone(self) -> bool:
        return self._clock() < self._left_alone_until

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="cache-disk")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
