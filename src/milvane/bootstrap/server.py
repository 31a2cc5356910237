"""
The whole server: what it consists of, and in which order that comes and goes.

At the end the doors close first, then the jobs' worker, the engines and the embedded Milvus Lite
end, which flushes; the ledger of usage and the database are last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI
from filelock import FileLock, Timeout

from milvane.apis.app import create_app
from milvane.apis.metrics import Measured
from milvane.bootstrap.doors import check_tls, http_port, milvus_port
from milvane.bootstrap.engines import (
    Engines,
    behind_cache,
    load_engine,
    token_texts,
    warm,
)
from milvane.bootstrap.governing import Governance, open_governance
from milvane.bootstrap.looking import look_into
from milvane.bootstrap.upstreams import Condition, upstream_of
from milvane.bootstrap.workshop import background, open_workshop
from milvane.console.pages import console_router
from milvane.domain.catalogue import WeightsName, deploy
from milvane.domain.errors import Conflict
from milvane.domain.models import ModelName
from milvane.gateway.bindings import Bindings
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.inspecting import CollectionInspector
from milvane.gateway.rpcs.services import Services
from milvane.jobs.worker import JobWorker
from milvane.media.desk import open_desk
from milvane.providers.service import ProviderService
from milvane.serving.caching.cache import VectorCache, open_cache
from milvane.serving.embedding import EmbeddingService
from milvane.serving.ports import RemoteProviders
from milvane.settings import Settings, provider_environment
from milvane.storage.database import Database

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


@dataclass(slots=True)
class _Server:
    """The parts that every front door stands on."""

    settings: Settings
    served_by: Mapping[ModelName, WeightsName]
    governance: Governance
    cache: VectorCache | None
    embedding: EmbeddingService
    engines: Engines
    measured: Measured
    condition: Condition
    inspectors: dict[str, CollectionInspector] = field(default_factory=dict)
    """By the instance's name, once it is open."""


@asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[Running]:
    """
    Run the whole server while the context is open.

    Yields:
        The ports really bound, once a raw-text search would succeed.

    Raises:
        ServiceError: If a part cannot start; the message names the cause and the cure.
    """
    check_tls(settings)
    # Weights are read and a Milvus starts beside the rest. At the end the doors close first,
    # whenever they were opened: what runs behind them may finish.
    async with (
        AsyncExitStack() as parts,
        AsyncExitStack() as beneath,
        AsyncExitStack() as doors,
    ):
        parts.enter_context(_claim(settings.server.data_dir))
        condition = Condition()
        loading = [
            (name, _enter_beside(beneath, load_engine(name, settings)))
            for name in dict.fromkeys(deploy(settings.deployments).values())
        ]
        database = await parts.enter_async_context(
            Database(settings.storage, settings.server.data_dir)
        )
        connecting = [
            _enter_beside(beneath, upstream_of(instance, settings, condition), is_abortable=True)
            for instance in settings.instances
        ]
        server = await _build(parts, database, settings, condition)
        app, worker = await _create_apis(server, database)
        # The probes answer from here on: alive, and not ready yet.
        http = await doors.enter_async_context(http_port(app, settings))
        providers = await beneath.enter_async_context(
            ProviderService(settings.providers, environment=provider_environment())
        )
        upstreams = [await connected for connected in connecting]
        for name, opened in loading:
            engine, lexicon = await opened
            server.engines.add(name, engine, lexicon)
            condition.reasons.append(engine.trouble)
        await warm(server.engines.texts.values())
        ports = server.governance.ports
        for instance, upstream in zip(settings.instances, upstreams, strict=True):
            services = _services(server, behind_cache(providers, server.cache, settings))
            dispatcher = Dispatcher(
                upstream,
                services,
                server.governance.authenticator,
                server.measured.operations,
                instance=instance.name,
            )
            door = await doors.enter_async_context(milvus_port(dispatcher, instance, settings))
            ports[instance.name] = door.port
            server.inspectors[instance.name] = CollectionInspector(
                upstream, services, instance=instance.name
            )
        await beneath.enter_async_context(worker)
        server.condition.starting = False
        try:
            yield Running(grpc_ports=ports, http_port=http.port)
        finally:
            server.condition.starting = True
            logger.info("stopping: running calls may finish, then everything is flushed")


async def _build(
    parts: AsyncExitStack, database: Database, settings: Settings, condition: Condition
) -> _Server:
    """Build what needs neither weights nor a Milvus."""
    served_by = deploy(settings.deployments)
    engines = Engines()
    governance = await open_governance(parts, database, settings)
    cache = await parts.enter_async_context(open_cache(settings.cache, settings.server.data_dir))
    embedding = EmbeddingService(
        engines.texts,
        settings.serving,
        weighers=engines.weighers,
        term_engines=engines.terms,
        cache=cache,
        cache_off_for=settings.cache.off_for,
        served_by=served_by,
        accounts=governance.accounts,
    )
    measured = Measured(
        engines=engines.texts,
        models=embedding.counts,
        cache=cache,
        quota_shares=governance.plane.month_shares,
    )
    return _Server(settings, served_by, governance, cache, embedding, engines, measured, condition)


async def _create_apis(server: _Server, database: Database) -> tuple[FastAPI, JobWorker]:
    """Build the HTTP application, and what does its jobs."""
    settings, governance = server.settings, server.governance
    vocabulary = await asyncio.to_thread(token_texts, settings)
    workshop = await open_workshop(database, server.embedding, settings, vocabulary)
    worker = JobWorker(workshop)
    media = None
    if settings.media.is_on:
        media = await open_desk(database, settings.media, settings.server.data_dir)
    app = create_app(
        server.embedding,
        settings.apis,
        server.condition.readiness,
        background=background(workshop, worker, settings),
        authenticator=governance.authenticator,
        vocabulary=vocabulary,
        measured=server.measured,
        management=replace(
            governance.management(settings, server.served_by),
            insight=look_into(
                settings,
                server.embedding,
                server.measured,
                readiness=server.condition.readiness,
                inspectors=server.inspectors,
                workshop=workshop,
                worker=worker,
            ),
        ),
        media=media,
        pages=[console_router()],
    )
    return app, worker


def _services(server: _Server, providers: RemoteProviders) -> Services:
    gateway = server.settings.gateway
    return Services(
        embedding=server.embedding,
        bindings=Bindings(max_cached=gateway.max_cached_collections),
        next_revision=next_revision,
        providers=providers,
        compat=gateway.compat,
        other_weights=gateway.other_weights,
    )


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


def _enter_beside(
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


def next_revision() -> int:
    """
    Make a schema revision from the time of day, in the form of Milvus's hybrid timestamps.

    Milliseconds since 1970, shifted left by 18 bits; so a collection that is dropped and made anew
    has another revision, also across restarts.
    """
    return (time.time_ns() // 1_000_000) << 18
