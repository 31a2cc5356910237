"""Loading and unloading weights while the server runs, as operators wish."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import weakref
from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TypeAlias

from typing_extensions import Self

from milvane.apis.management.ports import WeightsStanding, WeightsState
from milvane.bootstrap.condition import Reason
from milvane.bootstrap.engines import Engines, Loaded, LoadedContents, LoadedTexts, warm
from milvane.bootstrap.starting import enter_beside
from milvane.bootstrap.weights import NEEDS
from milvane.control_plane.plane import ControlPlane
from milvane.domain.catalogue import WeightsName
from milvane.domain.errors import ServiceError

logger = logging.getLogger(__name__)

Load: TypeAlias = Callable[
    [WeightsName, Awaitable[Loaded] | None], AbstractAsyncContextManager[Loaded]
]
"""Runs a set of weights while its context is open, beside what it goes with."""

DRAIN_S = 60.0
"""How long requests that were prepared before may keep weights from being unloaded."""

COLLECT_S = 1.0
"""After which of it a failed request that holds itself in a cycle is looked for."""

TRY_AGAIN_S = 30.0
"""After weights could not be loaded."""

_OUT = frozenset({WeightsState.UNLOADED, WeightsState.FAILED})
_UNLOADED = WeightsStanding(WeightsState.UNLOADED)


@dataclass(slots=True, eq=False)
class _Shelved:
    """One set of weights, and what is known of it."""

    name: WeightsName
    stack: AsyncExitStack
    """Closing it unloads the weights."""
    standing: WeightsStanding = _UNLOADED
    loaded: Loaded | None = None
    is_unused: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nobody holds the engine any more."""
    trouble: Reason | None = None
    is_wanted: bool = True
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something is to be looked at again."""


class LoadedWeights:
    """Keeps in memory what is to be there; a server's share of what the control plane says."""

    def __init__(
        self,
        load: Load,
        engines: Engines,
        reasons: list[Reason],
        plane: ControlPlane,
        *,
        abortable: Container[str] = (),
    ) -> None:
        """
        Say what it stands on.

        Args:
            load: Runs weights.

            engines: What may be used, kept as it is now.

            reasons: Why the server would fail a request now, to which loaded weights add theirs.

            plane: Who knows which weights are unloaded.

            abortable: Weights whose loading may be given up at the end, for it is mostly waiting.
        """
        self._abortable = abortable
        self._load = load
        self._engines = engines
        self._reasons = reasons
        self._plane = plane
        self._shelved: dict[WeightsName, _Shelved] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def standings(self) -> Mapping[str, WeightsStanding]:
        """How each set of weights that serves a model stands here, by its name."""
        return {name: shelved.standing for name, shelved in self._shelved.items()}

    def take(self, name: WeightsName, stack: AsyncExitStack, loaded: Loaded) -> None:
        """Let weights be used that the start has loaded; `stack` has them, and is left to them."""
        shelved = self._shelved[name] = _Shelved(name, stack)
        self._offer(shelved, loaded)

    async def __aenter__(self) -> Self:
        """Begin to follow."""
        self._look()
        keep = [self._keep(shelved) for shelved in self._shelved.values()]
        self._tasks = [asyncio.create_task(each) for each in (self._follow(), *keep)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Follow no more, and end what is loaded; its queue is finished."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for shelved in reversed(self._shelved.values()):
            await shelved.stack.aclose()

    async def _follow(self) -> None:
        while True:
            revision = self._plane.snapshot.revision
            self._look()
            await self._plane.wait_for_news(revision)

    def _look(self) -> None:
        unloaded = self._plane.snapshot.unloaded
        for name, shelved in self._shelved.items():
            shelved.is_wanted = not {name, NEEDS.get(name)} & unloaded
            shelved.changed.set()

    async def _keep(self, shelved: _Shelved) -> None:
        """Load and unload one set of weights, one after the other."""
        while True:
            shelved.changed.clear()
            try:
                await self._turn(shelved)
            except ServiceError as error:
                self._fail(shelved, error.message)
            except Exception:  # the other weights are kept, whatever these met
                logger.exception("unexpected failure of the weights %s", shelved.name)
                self._fail(shelved, "it failed; the server's log says how")
            has_failed = shelved.standing.state is WeightsState.FAILED
            await _is_set_in(shelved.changed, TRY_AGAIN_S if has_failed else None)

    async def _turn(self, shelved: _Shelved) -> None:
        state = shelved.standing.state
        needed = self._shelved.get(NEEDS[shelved.name]) if shelved.name in NEEDS else None
        if shelved.is_wanted and state is not WeightsState.LOADED:
            if needed is None or needed.loaded is not None:
                await self._bring(shelved, needed.loaded if needed else None)
            else:
                shelved.standing = WeightsStanding(WeightsState.LOADING)
        elif not shelved.is_wanted and state is WeightsState.LOADED:
            if all(each.standing.state in _OUT for each in self._beside(shelved)):
                await self._unload(shelved)
        elif not shelved.is_wanted:
            shelved.standing = _UNLOADED
        else:
            return
        for name, other in self._shelved.items():
            if NEEDS.get(name) == shelved.name or NEEDS.get(shelved.name) == name:
                other.changed.set()

    def _beside(self, shelved: _Shelved) -> list[_Shelved]:
        return [each for name, each in self._shelved.items() if NEEDS.get(name) == shelved.name]

    async def _bring(self, shelved: _Shelved, needed: Loaded | None) -> None:
        shelved.standing = WeightsStanding(WeightsState.LOADING, shelved.standing.trouble)
        self._engines.loading.add(shelved.name)
        shelved.stack = AsyncExitStack()
        beside = None if needed is None else _resolved(needed)
        try:
            loaded = await enter_beside(
                shelved.stack,
                self._load(shelved.name, beside),
                is_abortable=shelved.name in self._abortable,
            )
            if isinstance(loaded, LoadedTexts):
                await warm([loaded.engine])
        except BaseException:
            self._engines.loading.discard(shelved.name)
            await shelved.stack.aclose()
            raise
        self._offer(shelved, loaded)
        logger.info("weights %s are loaded", shelved.name)

    def _offer(self, shelved: _Shelved, loaded: Loaded) -> None:
        # Requests hold this copy from their preparation to their end, and nobody else does: when
        # it is gone after it is offered no more, nothing is under way.
        offered = _copied(loaded)
        shelved.is_unused = asyncio.Event()
        loop, is_unused = asyncio.get_running_loop(), shelved.is_unused
        weakref.finalize(offered.engine, lambda: _call(loop, is_unused)).atexit = False
        self._engines.add(shelved.name, offered)
        if isinstance(loaded, LoadedTexts):
            shelved.trouble = loaded.trouble
            self._reasons.append(shelved.trouble)
        shelved.loaded = loaded
        shelved.standing = WeightsStanding(WeightsState.LOADED)

    async def _unload(self, shelved: _Shelved) -> None:
        shelved.standing, shelved.loaded = WeightsStanding(WeightsState.UNLOADING), None
        self._engines.remove(shelved.name)
        if shelved.trouble in self._reasons:
            self._reasons.remove(shelved.trouble)
        shelved.trouble = None
        if not await _is_set_in(shelved.is_unused, COLLECT_S):
            gc.collect()
            await _is_set_in(shelved.is_unused, DRAIN_S)
        await shelved.stack.aclose()
        shelved.standing = _UNLOADED
        logger.info("weights %s are unloaded", shelved.name)

    def _fail(self, shelved: _Shelved, trouble: str) -> None:
        if trouble != shelved.standing.trouble:
            logger.warning("weights %s are not loaded: %s", shelved.name, trouble)
        shelved.standing = WeightsStanding(WeightsState.FAILED, trouble)


def _copied(loaded: Loaded) -> Loaded:
    if isinstance(loaded, LoadedContents):
        return replace(loaded, engine=copy.copy(loaded.engine))
    return replace(loaded, engine=copy.copy(loaded.engine))


def _resolved(loaded: Loaded) -> asyncio.Future[Loaded]:
    found: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
    found.set_result(loaded)
    return found


def _call(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if not loop.is_closed():  # the last to let go may be a thread
        loop.call_soon_threadsafe(event.set)


async def _is_set_in(event: asyncio.Event, timeout_s: float | None) -> bool:
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([waiting], timeout=timeout_s)
    finally:
        waiting.cancel()
    return event.is_set()
