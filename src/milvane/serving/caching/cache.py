"""The cache: what is in memory, on the disk, or being computed for another request right now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias

from typing_extensions import Buffer

from milvane.domain.models import Lane
from milvane.serving.caching.disk import DiskVectors
from milvane.serving.caching.forms import Form, Vectors
from milvane.serving.caching.keys import make_keys
from milvane.serving.caching.memory import RecentVectors
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.callers import current_caller

Compute: TypeAlias = Callable[[list[int]], Awaitable[Vectors]]
"""Computes the vectors of some positions of a request, one for each, in order."""

FILE_NAME = "vectors.db"


@dataclass(slots=True)
class CacheCounts:
    """Vectors that were asked for since the start, by where they came from."""

    memory: int = 0
    disk: int = 0
    joined: int = 0
    """Computed for another request at the same time."""
    computed: int = 0


@dataclass(frozen=True, slots=True)
class Fetched(Generic[Vectors]):
    """What a request gets."""

    vectors: Vectors
    """One for each key, in order; not to be written to."""
    was_kept: list[bool]
    """For each of them, whether it cost this request nothing."""


@dataclass(slots=True, eq=False)
class _Flight:
    """Vectors that one request is getting, and others may wait for."""

    lane: Lane
    cheap: Container[int] = ()
    """Positions of what is not worth the disk."""
    has_landed: asyncio.Event = field(default_factory=asyncio.Event)
    vectors: dict[bytes, bytes] = field(default_factory=dict)
    """Complete once it has landed; without those that could not be had."""


class VectorCache:
    """Gives vectors that are known, and has the others computed, each once."""

    def __init__(self, settings: CacheSettings, disk: DiskVectors | None = None) -> None:
        """
        Prepare an empty cache.

        Args:
            settings: What it may hold.

            disk: What keeps vectors beyond the process; entered by the caller.
        """
        self.counts = CacheCounts()
        self.disk = disk
        self._is_shared = settings.share_between_tenants
        self.memory = RecentVectors(settings.max_memory_bytes)
        self._flights: dict[bytes, _Flight] = {}

    def keys_of(self, source: str, contents: Iterable[Buffer]) -> list[bytes]:
        """
        Make the keys of vectors, such that those of the present caller's tenant are its own.

        Args:
            source: What computes them.

            contents: All that each depends on beside its source.
        """
        return make_keys("" if self._is_shared else current_caller().tenant, source, contents)

    async def fetch(
        self,
        keys: Sequence[bytes],
        compute: Compute[Vectors],
        form: Form[Vectors],
        lane: Lane,
        *,
        cheap: Container[int] = (),
    ) -> Fetched[Vectors]:
        """
        Get the vectors of keys; of equal ones, asked for at the same time, one is computed.

        A request that fails or leaves takes nobody along: whoever waits for a vector of its
        computes it then. Somebody in the interactive lane never waits for work of the bulk lane.

        Args:
            keys: What the vectors are known by.

            compute: Called at most once at a time, with positions of different keys.

            form: What the vectors look like.

            lane: Who waits.

            cheap: Positions of what is computed about as fast as written to a disk: it is kept in
                memory only.

        Raises:
            ServiceError: If `compute` does; nothing is kept of such a call.
        """
        places: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, place)
        found = self._look_into_memory(places, form)
        computed: set[bytes] = set()
        while missing := [key for key in places if key not in found]:
            joined, mine = self._split(missing, lane)
            if mine:
                flight = _Flight(lane, cheap)
                computed |= await self._fly(flight, mine, places, compute, form, found)
            for flight in joined:
                await flight.has_landed.wait()
                landed = {key: flight.vectors[key] for key in missing if key in flight.vectors}
                self.counts.joined += len(landed)
                found.update(landed)
            if joined:  # of those that failed, another one may have seen to some by now
                rest = [key for key in missing if key not in found]
                found.update(self._look_into_memory(rest, form))
        return Fetched(
            vectors=form.read([found[key] for key in keys]),
            was_kept=[key not in computed or places[key] != i for i, key in enumerate(keys)],
        )

    def _look_into_memory(self, keys: Iterable[bytes], form: Form[Any]) -> dict[bytes, bytes]:
        found = {}
        for key in keys:
            vector = self.memory.get(key)
            if vector is not None and form.is_whole(vector):
                found[key] = vector
        self.counts.memory += len(found)
        return found

    def _split(self, keys: list[bytes], lane: Lane) -> tuple[list[_Flight], list[bytes]]:
        """Say for which others are at work, and which are this request's own."""
        joined: dict[_Flight, None] = {}
        mine = []
        for key in keys:
            flight = self._flights.get(key)
            if flight is None or (lane is Lane.INTERACTIVE and flight.lane is Lane.BULK):
                mine.append(key)
            else:
                joined[flight] = None
        return list(joined), mine

    async def _fly(
        self,
        flight: _Flight,
        keys: list[bytes],
        places: dict[bytes, int],
        compute: Compute[Vectors],
        form: Form[Vectors],
        found: dict[bytes, bytes],
    ) -> set[bytes]:
        """Read or compute what nobody else does; returns the keys of what was computed."""
        self._flights.update(dict.fromkeys(keys, flight))
        try:
            flight.vectors = await self._read(keys, form)
            rest = [key for key in keys if key not in flight.vectors]
            if rest:
                computed = await compute([places[key] for key in rest])
                new = dict(zip(rest, form.write(computed), strict=True))
                self._keep(new, [key for key in rest if places[key] not in flight.cheap])
                flight.vectors.update(new)
            found.update(flight.vectors)
            return set(rest)
        finally:
            for key in keys:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.has_landed.set()

    async def _read(self, keys: list[bytes], form: Form[Any]) -> dict[bytes, bytes]:
        candidates = self.disk.candidates(keys) if self.disk else []
        if self.disk is None or not candidates:
            return {}
        read = await self.disk.find(candidates)
        whole = {key: vector for key, vector in read.items() if form.is_whole(vector)}
        self.counts.disk += len(whole)
        for key, vector in whole.items():
            self.memory.put(key, vector)
        return whole

    def _keep(self, vectors: dict[bytes, bytes], for_disk: list[bytes]) -> None:
        self.counts.computed += len(vectors)
        for key, vector in vectors.items():
            self.memory.put(key, vector)
        if self.disk is not None and for_disk:
            self.disk.put({key: vectors[key] for key in for_disk})


@asynccontextmanager
async def open_cache(settings: CacheSettings, data_dir: Path) -> AsyncIterator[VectorCache | None]:
    """
    Open the cache as it is set up, until the block is left.

    Yields:
        None if nothing is to be kept.
    """
    if not settings.enabled:
        yield None
    elif not settings.max_disk_bytes:
        yield VectorCache(settings)
    else:
        path = data_dir / "cache" / FILE_NAME
        async with DiskVectors(path, settings.max_disk_bytes) as disk:
            yield VectorCache(settings, disk)
