"""
Stands between the wire and Milvus Lite's servicer: who runs, who waits, who is turned away.

Milvus Lite may be called from many threads only as `access` says. The locks are taken here, on the
event loop; the servicer runs in worker threads, but for calls that end before a thread would have
begun. A caller that goes away while it waits is
forgotten; one that goes away while its call runs keeps its locks until the call has ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from milvane.domain.errors import Conflict, InvalidInput, Overloaded, ServiceError
from milvane.instances.access import Access, access_of
from milvane.instances.lite import checkpoint
from milvane.instances.lite.durations import Durations, shape_of
from milvane.instances.lite.engine import is_success
from milvane.instances.lite.flusher import Flusher
from milvane.instances.lite.flushing import FlushPolicy
from milvane.instances.lite.gates import Gate
from milvane.instances.lite.indexing import settle_index
from milvane.instances.lite.journal import CollectionKey
from milvane.instances.lite.locks import Hold
from milvane.instances.lite.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from concurrent.futures import Executor

    from milvane.instances.lite.engine import Engine
    from milvane.instances.lite.frames import Metadata
    from milvane.instances.lite.rpcs import Rpc
    from milvane.instances.settings import LiteSettings

_RATE_LIMIT = 8  # the status code at which pymilvus backs off and tries again
_UNEXPECTED = 1
_INVALID_PARAMETER = 1100
_HOLDS = {
    Access.READ: Hold.SHARED,
    Access.WRITE: Hold.WRITER,
    Access.REBUILD: Hold.SOLE,
}
_MAYBE_BRIEF = frozenset({Access.CATALOGUE, Access.READ})
_USES_INDEXES = frozenset({"LoadCollection", "CreateIndex", "DropIndex"})
_WAITS_FOR_INDEXES = _USES_INDEXES | {"DropCollection", "TruncateCollection", "RenameCollection"}

_logger = logging.getLogger(__name__)


class CallContext:
    """What the servicer asks of gRPC, without gRPC."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self.code = grpc.StatusCode.OK
        self.details = ""

    def invocation_metadata(self) -> Metadata:
        """Return the metadata of the call."""
        return self._metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        """Take the status of the call."""
        self.code = code

    def set_details(self, details: str) -> None:
        """Take what is said about the status."""
        self.details = details


class Guard:
    """Runs each call under the locks that it needs."""

    def __init__(self, engine: Engine, settings: LiteSettings, threads: Executor) -> None:
        """
        Guard an engine whose collections are all open.

        Args:
            engine: What is guarded.

            settings: Limits and flush policy.

            threads: Where calls run.
        """
        self._engine = engine
        self._servicer = Servicer(engine.db)
        self._threads = threads
        self._max_waiting = settings.max_waiting_calls
        self._catalogue = Gate("the catalogue", settings.max_waiting_calls)
        self._gates: dict[CollectionKey, Gate] = {}
        self._suspect: set[CollectionKey] = set()
        self._durations = Durations()
        self._loop = asyncio.get_running_loop()
        policy = FlushPolicy.from_settings(settings)
        self.flusher = Flusher(engine, policy, self._gate, self._catalogue, threads)
        for key in engine.open_keys():
            self.flusher.note_write(key, engine.pending(key))

    async def serve(self, rpc: Rpc, request: Any, context: CallContext) -> Any:
        """
        Make one call.

        Returns:
            The response; refusals of the guard are in its status, as Milvus's own are.
        """
        try:
            return await self._serve(rpc, request, context)
        except Overloaded as error:
            return rpc.failure(_RATE_LIMIT, error.message)
        except InvalidInput as error:
            return rpc.failure(_INVALID_PARAMETER, error.message)
        except (ServiceError, OSError) as error:
            return rpc.failure(_UNEXPECTED, str(error))

    async def _serve(self, rpc: Rpc, request: Any, context: CallContext) -> Any:
        access = access_of(rpc.name)
        database = _database_of(request, context)
        if access is Access.FLUSH:
            return await self._flush(request, database)
        name = getattr(request, "collection_name", "") or getattr(request, "oldName", "")
        if rpc.name in _WAITS_FOR_INDEXES:
            await self._wait_for_indexes(database, name)
        holds = ExitStack()
        with holds:
            key = await self._enter(holds, access, database, name)
            work = self._work(rpc, access, key, request, context)
            shape = shape_of(rpc.name, key, request) if access is Access.READ else None
            with self._quiet(access, key, shape) as is_quiet:
                if is_quiet:
                    response, duration_s = _timed(work)
                    self._durations.note(shape, duration_s)
                    return response
            running = self._loop.run_in_executor(self._threads, _timed, work)
            # The caller may go; the locks stay until the thread is done.
            _release_after(running, holds.pop_all())
        response, duration_s = await asyncio.shield(running)
        self._durations.note(shape, duration_s)
        return response

    async def _enter(
        self, holds: ExitStack, access: Access, database: str, name: str
    ) -> CollectionKey:
        if access is Access.NOTHING:
            return CollectionKey(database, name)
        hold = Hold.SOLE if access is Access.RESHAPE else Hold.SHARED
        holds.callback((await self._catalogue.enter(hold)).close)
        key = self._engine.resolve(database, name)
        if access in _HOLDS and self._engine.find(key) is not None:
            holds.callback((await self._gate(key).enter(_HOLDS[access])).close)
        return key

    @contextmanager
    def _quiet(self, access: Access, key: CollectionKey, shape: Hashable) -> Iterator[bool]:
        """See to it that a call may be made on the event loop: brief, and nothing to wait for."""
        if access is Access.NOTHING:
            yield True
            return
        collection = self._engine.find(key)
        if collection is None or access not in _MAYBE_BRIEF:
            yield False
        elif access is Access.CATALOGUE:
            yield True
        elif not (self._durations.are_brief(shape) and self._gate(key).has_only_readers):
            yield False
        else:
            lock = self._engine.lock_of_reads(collection)
            is_free = lock.acquire(blocking=False)  # another read may have it
            try:
                yield is_free
            finally:
                if is_free:
                    lock.release()

    def _work(
        self, rpc: Rpc, access: Access, key: CollectionKey, request: Any, context: CallContext
    ) -> Callable[[], Any]:
        def run() -> Any:
            if rpc.name == "CreateIndex":
                self._settle_index(key, request)
            return getattr(self._servicer, rpc.name)(request, context)

        if access is Access.WRITE:
            return lambda: self._write(key, run)
        if access is Access.REBUILD:
            return lambda: self._rebuild(rpc.name, key, run)
        if access is Access.RESHAPE:
            target = getattr(request, "newName", "")
            return lambda: self._engine.reshape(rpc.name, key, target, run)
        return run

    def _settle_index(self, key: CollectionKey, request: Any) -> None:
        kind = self._engine.field_kind(key, request.field_name)
        if kind is None:
            return  # Milvus Lite says itself what is missing
        settled = settle_index(kind, {pair.key: pair.value for pair in request.extra_params})
        del request.extra_params[:]
        request.extra_params.extend(
            common_pb2.KeyValuePair(key=name, value=value) for name, value in settled.items()
        )

    def _write(self, key: CollectionKey, run: Callable[[], Any]) -> Any:
        if self._engine.find(key) is None:
            return run()
        if key in self._suspect:
            self._renew_log(key)
        before = self._engine.sequence(key)
        response = run()
        if not is_success(response) and self._engine.sequence(key) != before:
            # The write got as far as the log and failed there. What follows a torn record is lost
            # when the log is read again, so the next write starts a new one.
            self._suspect.add(key)
        if is_success(response):
            self._engine.acknowledge(key, response)
        # Told from here, since the caller may have gone.
        self._loop.call_soon_threadsafe(self.flusher.note_write, key, self._engine.pending(key))
        return response

    def _renew_log(self, key: CollectionKey) -> None:
        # Readers are beside us, so memory may not change: a new log file is enough.
        try:
            self._engine.start_log(key)
        except OSError as error:
            raise Conflict(
                f"collection {key} takes no rows: its log cannot be written ({error})"
            ) from error
        self._suspect.discard(key)

    def _rebuild(self, rpc: str, key: CollectionKey, run: Callable[[], Any]) -> Any:
        collection = self._engine.find(key)
        if rpc == "DropPartition" and collection is not None:
            checkpoint.move_to_disk(collection)
        if rpc in _USES_INDEXES:
            self._engine.settle(key)  # two builds of one index would write one file
        response = run()
        self._engine.recount(key)
        self._engine.tend(key)
        self._engine.remember_released()
        return response

    async def _flush(self, request: Any, database: str) -> Any:
        for name in request.collection_names:
            await self.flusher.flush(self._engine.resolve(database, name))
        return milvus_pb2.FlushResponse(status=common_pb2.Status(code=0))

    async def _wait_for_indexes(self, database: str, name: str) -> None:
        # Lite waits for a running index build inside these; better out here, where nobody waits.
        key = self._engine.resolve(database, name)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._engine.settle, key)

    def _gate(self, key: CollectionKey) -> Gate:
        gate = self._gates.get(key)
        if gate is None:
            idle = [each for each, old in self._gates.items() if old.is_idle]
            for each in idle:
                if self._engine.find(each) is None:
                    del self._gates[each]
            gate = self._gates[key] = Gate(f"collection {key}", self._max_waiting)
        return gate


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun_s = time.perf_counter()
    response = work()
    return response, time.perf_counter() - begun_s


def _release_after(running: asyncio.Future[Any], holds: ExitStack) -> None:
    running.add_done_callback(lambda _: holds.close())


def _database_of(request: Any, context: CallContext) -> str:
    named = getattr(request, "db_name", "")
    in_metadata = (str(value) for name, value in context.invocation_metadata() if name == "dbname")
    return named or next(in_metadata, "") or "default"
