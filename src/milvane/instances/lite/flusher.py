"""Moves rows to disk when the policy says so: one task, so that flushes never compete."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from milvane.instances.lite import checkpoint
from milvane.instances.lite.flushing import (
    FlushPolicy,
    Pending,
    pause_after_failure_s,
    wait_before_flush_s,
)
from milvane.instances.lite.locks import Hold

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from milvane.instances.lite.engine import Engine
    from milvane.instances.lite.gates import Gate
    from milvane.instances.lite.journal import CollectionKey

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watched:
    """What is known of one collection with rows in memory."""

    pending: Pending
    written_at_s: float
    """When it was last written to, on the monotonic clock."""
    failures: int = 0
    not_before_s: float = 0.0
    askers: list[asyncio.Future[None]] = field(default_factory=list)

    def due_s(self, policy: FlushPolicy, now_s: float) -> float | None:
        """Say in how many seconds it is to be flushed, or nothing if never."""
        wait_s = (
            0.0
            if self.askers
            else wait_before_flush_s(self.pending, now_s - self.written_at_s, policy)
        )
        return None if wait_s is None else max(wait_s, self.not_before_s - now_s)


class Flusher:
    """The only one that moves rows to disk while the process serves."""

    def __init__(
        self,
        engine: Engine,
        policy: FlushPolicy,
        gates: Callable[[CollectionKey], Gate],
        catalogue: Gate,
        threads: Executor,
    ) -> None:
        """
        Share the locks of the guard.

        Args:
            engine: Holds the collections.

            policy: When rows move.

            gates: Finds a collection's gate.

            catalogue: The gate in front of all collections.

            threads: Where the work is done.
        """
        self._engine = engine
        self._policy = policy
        self._gates = gates
        self._catalogue = catalogue
        self._threads = threads
        self._watched: dict[CollectionKey, _Watched] = {}
        self._change = asyncio.Event()

    def note_write(self, key: CollectionKey, pending: Pending) -> None:
        """Hear that a collection was written to."""
        watched = self._watch(key)
        watched.pending, watched.written_at_s = pending, time.monotonic()
        self._change.set()

    async def flush(self, key: CollectionKey) -> None:
        """
        Flush a collection now, and wait for it.

        Raises:
            OSError: If the rows could not be written; they are still in memory and in the log.
        """
        asker = asyncio.get_running_loop().create_future()
        watched = self._watch(key)
        watched.askers.append(asker)
        watched.not_before_s = 0.0
        self._change.set()
        await asker

    async def run(self) -> None:
        """Flush what is due, until cancelled."""
        while True:
            self._change.clear()
            due_s = self._due()
            for key, wait_s in due_s.items():
                if wait_s <= 0:
                    await self._flush(key)
            if any(wait_s <= 0 for wait_s in due_s.values()):
                continue
            try:
                await asyncio.wait_for(self._change.wait(), min(due_s.values(), default=None))
            except asyncio.TimeoutError:
                continue

    def _watch(self, key: CollectionKey) -> _Watched:
        unknown = _Watched(Pending(rows=0, bytes=0), time.monotonic())
        return self._watched.setdefault(key, unknown)

    def _due(self) -> dict[CollectionKey, float]:
        now_s = time.monotonic()
        waits = {key: each.due_s(self._policy, now_s) for key, each in self._watched.items()}
        return {key: wait_s for key, wait_s in waits.items() if wait_s is not None}

    async def _flush(self, key: CollectionKey) -> None:
        watched = self._watched.pop(key)
        try:
            await self._move_to_disk(key)
        except Exception as error:  # noqa: BLE001 - one bad flush must not end all flushing
            self._postpone(key, watched, error)
            return
        for asker in watched.askers:
            if not asker.done():
                asker.set_result(None)

    def _postpone(self, key: CollectionKey, watched: _Watched, error: Exception) -> None:
        failures = watched.failures + 1
        pause_s = pause_after_failure_s(failures)
        _logger.error("%s: its rows stay in the log, next try in %.1f s: %r", key, pause_s, error)
        again = self._watch(key)
        again.failures, again.not_before_s = failures, time.monotonic() + pause_s
        if again.pending.rows == 0:
            again.pending = watched.pending
        for asker in watched.askers:
            if not asker.done():
                asker.set_exception(error)

    async def _move_to_disk(self, key: CollectionKey) -> None:
        loop = asyncio.get_running_loop()
        shared = await self._catalogue.enter(Hold.SHARED)
        try:
            collection = self._engine.find(key)
            if collection is None:
                return
            alone = await self._gates(key).enter(Hold.WRITER)
            try:
                prepared = await loop.run_in_executor(self._threads, checkpoint.prepare, collection)
                if prepared is None:
                    return
                # A read keeps the view that it began with; Milvus Lite's own reads would not.
                is_beside_reads = self._engine.reads_keep_views
                if not is_beside_reads:
                    await alone.promote()
                started_s = time.monotonic()
                await loop.run_in_executor(self._threads, checkpoint.commit, collection, prepared)
                if not is_beside_reads:
                    alone.demote()
                _logger.debug(
                    "%s: %d rows to disk; changing over took %.1f ms",
                    key,
                    prepared.rows,
                    1e3 * (time.monotonic() - started_s),
                )
                await loop.run_in_executor(self._threads, checkpoint.clean_up, collection, prepared)
            finally:
                alone.close()
        finally:
            shared.close()
