"""
How the server begins and ends: what takes longest goes first, and the rest is imported beside it.

At the end the doors close first, then the jobs' worker, the engines and the embedded Milvus Lite
end, which flushes; the ledger of usage and the database are last.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from milvane.bootstrap.condition import Condition
from milvane.bootstrap.upstreams import upstream_of
from milvane.bootstrap.weights import NEEDS, choose_weights, names_to_load
from milvane.domain.catalogue import WeightsName
from milvane.domain.errors import Conflict
from milvane.gateway.tls import TlsIdentity, find_flaws
from milvane.settings import Settings

if TYPE_CHECKING:
    from milvane.bootstrap.engines import Loaded
    from milvane.bootstrap.governing import Governance
    from milvane.control_plane.plane import ControlPlane
    from milvane.domain.models import ModelName
    from milvane.instances.remote import CredentialMapping
    from milvane.instances.upstream import Upstream

logger = logging.getLogger(__name__)

SERVER_LOCK_NAME = "milvane-server.lock"
"""File in the data directory that a running server holds."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    grpc_ports: Mapping[str, int]
    """By the instance's name, in the order of the settings."""
    http_port: int


@dataclass(frozen=True, slots=True)
class Loading:
    """A set of weights on its way."""

    stack: AsyncExitStack
    """Closing it unloads them; it is in the one of what runs behind the doors."""
    loaded: Awaitable[Loaded]


@dataclass(frozen=True, slots=True)
class Begun:
    """A server of which the slowest parts are on their way."""

    settings: Settings
    condition: Condition
    parts: AsyncExitStack
    """Left last: what the others write to while they end."""
    beneath: AsyncExitStack
    """What runs behind the doors."""
    doors: AsyncExitStack
    """Left first."""
    served_by: Mapping[ModelName, WeightsName]
    """Which weights serve each model."""
    connecting: Sequence[Awaitable[Upstream | CredentialMapping]]
    """The Milvus of each instance, in the order of the settings."""
    loading: Mapping[WeightsName, Loading]
    governance: Governance
    welcome: Awaitable[None]
    """Until there is an operator."""


@asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[Running]:
    """
    Run the whole server while the context is open.

    Yields:
        The ports really bound, once a raw-text search would succeed.

    Raises:
        ServiceError: If a part cannot start; the message names the cause and the cure.
    """
    _check_tls(settings)
    async with (
        AsyncExitStack() as parts,
        AsyncExitStack() as beneath,
        AsyncExitStack() as doors,
    ):
        parts.enter_context(_claim(settings.server.data_dir))
        condition = Condition()
        connecting = [
            enter_beside(beneath, upstream_of(instance, settings, condition), is_abortable=True)
            for instance in settings.instances
        ]
        served_by = choose_weights(settings)
        loading = await _load_all(beneath, served_by, settings, condition)
        # Threads import no faster than one: what then goes on without Python is first.
        await asyncio.to_thread(_import_engines)
        open_governance, welcomed = await asyncio.to_thread(_import_governing)
        importing = asyncio.ensure_future(asyncio.to_thread(_import_the_rest))
        governance = await open_governance(parts, settings)
        welcome = enter_beside(beneath, welcomed(governance.plane, settings))
        complete = await importing
        gc.freeze()  # modules stay for good: each look for garbage among them would be a pause
        gc.enable()
        running = await complete(
            Begun(
                settings=settings,
                condition=condition,
                parts=parts,
                beneath=beneath,
                doors=doors,
                served_by=served_by,
                connecting=connecting,
                loading=loading,
                governance=governance,
                welcome=welcome,
            )
        )
        condition.starting = False
        try:
            yield running
        finally:
            condition.starting = True
            logger.info("stopping: running calls may finish, then everything is flushed")


async def _load_all(
    beneath: AsyncExitStack,
    served_by: Mapping[ModelName, WeightsName],
    settings: Settings,
    condition: Condition,
) -> dict[WeightsName, Loading]:
    """Begin to load all weights that have to run, those that others go with before them."""
    loading: dict[WeightsName, Loading] = {}
    for name in names_to_load(served_by):
        texts = loading[NEEDS[name]].loaded if name in NEEDS else None
        stack = await beneath.enter_async_context(AsyncExitStack())
        # A file is read to its end, but who waits for a server elsewhere may be told to stop.
        loaded = enter_beside(
            stack,
            load_beside(name, settings, texts),
            is_abortable=name in settings.inference.remote,
        )
        loading[name] = Loading(stack, loaded)
        condition.reasons.append(partial(_loading_reason, name, loaded))
    return loading


@asynccontextmanager
async def load_beside(
    name: WeightsName, settings: Settings, texts: Awaitable[Loaded] | None
) -> AsyncIterator[Loaded]:
    """Run a set of weights while the context is open; `texts` is what those go with that see."""
    load_engine, load_pictures = await asyncio.to_thread(_import_engines)
    context = load_engine(name, settings) if texts is None else load_pictures(texts, settings)
    async with context as loaded:
        yield loaded


def _loading_reason(name: WeightsName, loaded: asyncio.Future[Loaded]) -> str | None:
    return None if loaded.done() else f"the weights {name} are still being loaded"


def _import_engines() -> tuple[
    Callable[[WeightsName, Settings], AbstractAsyncContextManager[Loaded]],
    Callable[[Awaitable[Loaded], Settings], AbstractAsyncContextManager[Loaded]],
]:
    from milvane.bootstrap.engines import load_engine, load_pictures

    return load_engine, load_pictures


def _import_governing() -> tuple[
    Callable[[AsyncExitStack, Settings], Awaitable[Governance]],
    Callable[[ControlPlane, Settings], AbstractAsyncContextManager[None]],
]:
    from milvane.bootstrap.governing import open_governance, welcomed

    return open_governance, welcomed


def _import_the_rest() -> Callable[[Begun], Awaitable[Running]]:
    from milvane.bootstrap.server import complete

    return complete


def _check_tls(settings: Settings) -> None:
    """Fail early if the certificate cannot be used, and tell what else is amiss."""
    if settings.tls.is_on:
        TlsIdentity(settings.tls, [])
        for flaw in find_flaws(settings.tls):
            logger.warning("%s", flaw)


@contextmanager
def _claim(data_dir: Path) -> Iterator[None]:
    """Hold a data directory before anything in it is opened, or migrated to a newer form."""
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(data_dir / SERVER_LOCK_NAME)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise Conflict(
            f"another Milvane uses {data_dir.resolve()}: stop it, or choose another directory"
        ) from error
    try:
        yield
    finally:
        lock.release()


def enter_beside(
    stack: AsyncExitStack, context: AbstractAsyncContextManager[_T], *, is_abortable: bool = False
) -> asyncio.Future[_T]:
    """
    Enter a context in a task of its own, so that others start meanwhile; left with `stack`.

    If it falls apart afterwards, the task that called this is cancelled. An abortable one is not
    entered to the end only to be left.
    """
    entered: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
    is_over = asyncio.Event()
    owner = asyncio.current_task()

    async def hold() -> None:
        try:
            async with context as value:
                if not entered.cancelled():  # whoever waited may have been told to stop
                    entered.set_result(value)
                await is_over.wait()
        except Exception as error:
            if not entered.done():
                entered.set_exception(error)
                return
            if owner is not None and not entered.cancelled() and not is_over.is_set():
                owner.cancel()
            raise

    holding = asyncio.create_task(hold(), name="start-beside")

    async def end() -> None:
        is_over.set()
        if is_abortable and (entered.cancelled() or not entered.done()):
            holding.cancel()
        await asyncio.wait([holding])
        if entered.done() and not entered.cancelled():
            entered.exception()  # seen, also where another failure kept us from waiting for it
        if not holding.cancelled():
            holding.result()

    stack.push_async_callback(end)
    return entered
