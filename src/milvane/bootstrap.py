"""
The composition root: builds every component, joins them, and takes them down in reverse.

The only module that names everyone. At the end the doors close first, then the jobs' worker, the
engine and the embedded Milvus Lite end, which flushes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI
from filelock import FileLock, Timeout

from milvane.apis.app import create_app
from milvane.apis.background import Background
from milvane.apis.dashscope.tasks_lines import TextLines
from milvane.apis.health import Readiness
from milvane.apis.listener import HttpListener
from milvane.apis.metrics import Measured
from milvane.apis.openai.batches_lines import BatchLines
from milvane.domain.catalogue import WeightsName, deploy
from milvane.domain.errors import Conflict, NotFound
from milvane.domain.jobs import JobKind
from milvane.domain.models import Lane, Purpose
from milvane.gateway.bindings import Bindings
from milvane.gateway.calls import SERVICE
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.port_sharing import SharedPort
from milvane.gateway.rest_v2.app import RestApp, create_rest_app
from milvane.gateway.rpcs.services import Services
from milvane.gateway.server import GatewayServer, MilvusHandler
from milvane.gateway.tls import TlsIdentity, find_flaws
from milvane.inference.engine import Engine, open_engine
from milvane.inference.installed import find_set
from milvane.inference.token_ids import TokenTexts, read_token_texts
from milvane.inference.vocabulary import read_lexicon
from milvane.instances.lite.supervisor import LiteInstance, LiteState
from milvane.instances.remote import CredentialMapping, RemoteEndpoint
from milvane.instances.selection import InstanceSettings
from milvane.instances.upstream import Upstream, UpstreamStatus
from milvane.jobs.cabinet import Cabinet
from milvane.jobs.desk import JobDesk
from milvane.jobs.parts import Parts
from milvane.jobs.runner import Workshop
from milvane.jobs.worker import JobWorker
from milvane.providers.service import ProviderService
from milvane.serving.access import Authenticator
from milvane.serving.caching.cache import VectorCache, open_cache
from milvane.serving.caching.providers import CachedProviders
from milvane.serving.embedding import EmbeddingService
from milvane.serving.ports import RemoteProviders, TermEngine, TermWeigher, TextEngine
from milvane.settings import Settings, provider_environment, weights_dir
from milvane.storage.database import Database
from milvane.storage.files import FileStore

logger = logging.getLogger(__name__)

SERVER_LOCK_NAME = "milvane-server.lock"
"""File in the data directory that a running server holds."""

_T = TypeVar("_T")

Reason = Callable[[], str | None]
"""Says why a request would fail now; none if it would not."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    grpc_ports: Mapping[str, int]
    """By the instance's name, in the order of the settings."""
    http_port: int


@dataclass(slots=True)
class Condition:
    """What the readiness probe answers from: the state of the start, then of each part."""

    starting: bool = True
    reasons: list[Reason] = field(default_factory=list)

    def readiness(self) -> Readiness:
        """Say how things stand now."""
        if self.starting:
            return Readiness(("the server is starting",))
        return Readiness(tuple(said for reason in self.reasons if (said := reason())))


@asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[Running]:
    """
    Run the whole server while the context is open.

    Yields:
        The ports really bound, once a raw-text search would succeed.

    Raises:
        ServiceError: If a part cannot start; the message names the cause and the cure.
    """
    served_by = deploy(settings.deployments)
    engines: dict[WeightsName, TextEngine] = {}
    weighers: dict[WeightsName, TermWeigher] = {}
    term_engines: dict[WeightsName, TermEngine] = {}
    embedding = EmbeddingService(engines, settings.serving, weighers=weighers)
    authenticator = Authenticator(settings.access)
    _check_tls(settings)
    condition = Condition()
    # The doors close first, whenever they were opened: what runs behind them may finish.
    async with AsyncExitStack() as parts, AsyncExitStack() as doors:
        parts.enter_context(_claim(settings.server.data_dir))
        cache = await parts.enter_async_context(
            open_cache(settings.cache, settings.server.data_dir)
        )
        embedding = EmbeddingService(
            engines,
            settings.serving,
            weighers=weighers,
            cache=cache,
            cache_off_for=settings.cache.off_for,
            served_by=served_by,
            term_engines=term_engines,
        )
        measured = Measured(
            engines=engines,
            models=embedding.counts,
            cache=cache,
        )
        vocabulary = await asyncio.to_thread(_token_texts, settings)
        workshop = await _open_workshop(parts, embedding, settings, vocabulary)
        worker = JobWorker(workshop)
        app = create_app(
            embedding,
            settings.apis,
            condition.readiness,
            background=_background(workshop, worker, settings),
            authenticator=authenticator,
            vocabulary=vocabulary,
            measured=measured,
        )
        # The probes answer from here on: alive, and not ready yet.
        http = await doors.enter_async_context(_http_port(app, settings))
        loading = [
            (name, _enter_beside(parts, _open_engine(name, settings)))
            for name in dict.fromkeys(served_by.values())
        ]
        providers = await parts.enter_async_context(
            ProviderService(settings.providers, environment=provider_environment())
        )
        upstreams = [
            await _open_upstream(parts, instance, settings, condition)
            for instance in settings.instances
        ]
        for name, opened in loading:
            engines[name] = engine = await opened
            if engine.weighs_terms:
                term_engines[name] = engine
            weighers[name] = await _lexicon(name, settings)
        await _warm(engines.values())
        ports = {}
        for instance, upstream in zip(settings.instances, upstreams, strict=True):
            services = Services(
                embedding=embedding,
                bindings=Bindings(max_cached=settings.gateway.max_cached_collections),
                next_revision=next_revision,
                providers=_behind_cache(providers, cache, settings),
                compat=settings.gateway.compat,
            )
            dispatcher = Dispatcher(upstream, services, authenticator, measured.operations)
            door = await doors.enter_async_context(_milvus_port(dispatcher, instance, settings))
            ports[instance.name] = door.port
        await parts.enter_async_context(worker)
        condition.starting = False
        try:
            yield Running(grpc_ports=ports, http_port=http.port)
        finally:
            condition.starting = True
            logger.info("stopping: running calls may finish, then everything is flushed")


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


def _enter_beside(
    stack: AsyncExitStack, context: AbstractAsyncContextManager[_T]
) -> asyncio.Future[_T]:
    """Enter a context in a task of its own, so that others start meanwhile; left with `stack`."""
    entered: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
    is_over = asyncio.Event()

    async def hold() -> None:
        try:
            async with context as value:
                entered.set_result(value)
                await is_over.wait()
        except Exception as error:
            if entered.done():
                raise
            entered.set_exception(error)

    holding = asyncio.create_task(hold(), name="start-beside")

    async def end() -> None:
        is_over.set()
        await holding
        if not entered.cancelled():
            entered.exception()  # seen, also where another failure kept us from waiting for it

    stack.push_async_callback(end)
    return entered


def _http_port(
    app: FastAPI, settings: Settings
) -> AbstractAsyncContextManager[HttpListener | SharedPort]:
    """Describe the port of the HTTP APIs."""
    server, listener = settings.server, _http_listener(app, settings)
    if not settings.tls.is_on:
        return listener(host=server.host, port=server.http_port)
    return SharedPort(
        host=server.host,
        port=server.http_port,
        http2=None,
        http1=lambda path: listener(path=path),
        sniff_timeout_s=server.patience_s,
        tls=TlsIdentity(settings.tls, ["http/1.1"]),
        max_connections=server.max_connections,
        option="--http-port",
    )


def _http_listener(app: FastAPI | RestApp, settings: Settings) -> Callable[..., HttpListener]:
    return partial(
        HttpListener,
        app,
        drain_timeout_s=settings.gateway.drain_timeout_s,
        patience_s=settings.server.patience_s,
        max_connections=settings.server.max_connections,
        is_secure=settings.tls.is_on,
    )


async def _open_workshop(
    stack: AsyncExitStack,
    embedding: EmbeddingService,
    settings: Settings,
    vocabulary: TokenTexts | None,
) -> Workshop:
    """Open what files and jobs are kept in."""
    data_dir = settings.server.data_dir
    database = await stack.enter_async_context(Database(settings.storage, data_dir))
    folder = settings.storage.files_dir or data_dir / "files"
    files = FileStore(database, folder, settings.storage)
    await files.prepare()
    return Workshop(
        database=database,
        files=files,
        parts=Parts(folder / "parts"),
        formats={
            JobKind.BATCH: BatchLines(max_inputs=settings.apis.max_inputs, vocabulary=vocabulary),
            JobKind.TEXT_TASK: TextLines(),
        },
        service=embedding,
        settings=settings.jobs,
    )


def _background(workshop: Workshop, worker: JobWorker, settings: Settings) -> Background:
    """Say who does what works on after an HTTP answer."""
    return Background(
        files=Cabinet(workshop.files),
        jobs=JobDesk(
            workshop.database, worker.wake, max_pending_jobs=settings.jobs.max_pending_jobs
        ),
        max_file_bytes=settings.storage.max_file_bytes,
        clock=workshop.clock,
    )


def _milvus_port(
    dispatcher: Dispatcher, instance: InstanceSettings, settings: Settings
) -> AbstractAsyncContextManager[GatewayServer | SharedPort]:
    """Describe an instance's port: gRPC alone, or REST beside it."""
    handler = MilvusHandler(dispatcher, compat=settings.gateway.compat)
    host = settings.server.host
    port = settings.server.grpc_port if instance.grpc_port is None else instance.grpc_port
    secured, rest = settings.tls.is_on, settings.gateway.rest
    if not rest and not secured:
        return GatewayServer(handler, settings.gateway, host=host, port=port)
    listener = _http_listener(create_rest_app(dispatcher, settings.gateway), settings)
    # A client that takes both is no gRPC client, and REST is not served over HTTP/2.
    protocols = ["http/1.1", "h2"] if rest else ["h2"]
    return SharedPort(
        host=host,
        port=port,
        http2=lambda path: GatewayServer(handler, settings.gateway, path=path),
        http1=(lambda path: listener(path=path)) if rest else None,
        sniff_timeout_s=settings.gateway.sniff_timeout_s,
        tls=TlsIdentity(settings.tls, protocols) if secured else None,
        max_connections=settings.server.max_connections,
    )


async def _open_upstream(
    stack: AsyncExitStack, instance: InstanceSettings, settings: Settings, condition: Condition
) -> Upstream | CredentialMapping:
    """Start the embedded Milvus Lite, or connect to a remote Milvus that must answer."""
    wait_s = settings.lite.wait_for_restart_s
    if instance.is_embedded:
        lite = await stack.enter_async_context(
            LiteInstance(settings.lite, settings.server.data_dir)
        )
        condition.reasons.append(lambda: _unready_reason(lite))
        return await stack.enter_async_context(Upstream(lite, wait_for_restart_s=wait_s))
    remote = RemoteEndpoint(instance)
    upstream = await stack.enter_async_context(Upstream(remote, wait_for_restart_s=wait_s))
    condition.reasons.append(lambda: upstream.unready_reason)
    token = instance.token.get_secret_value() if instance.token else None
    shown = CredentialMapping(upstream, token) if token else upstream
    with suppress(UpstreamStatus):  # it answers, if only to say that it wants to know who asks
        await shown.call(f"{SERVICE}GetVersion", b"", timeout_s=10)
    return shown


def _unready_reason(lite: LiteInstance) -> str | None:
    return None if lite.state is LiteState.READY else f"{lite.name} is {lite.state.value}"


def _token_texts(settings: Settings) -> TokenTexts | None:
    try:
        return read_token_texts(weights_dir(settings))
    except NotFound:  # said to whoever sends token ids
        return None


def _behind_cache(
    providers: ProviderService, cache: VectorCache | None, settings: Settings
) -> RemoteProviders:
    if cache is None:
        return providers
    return CachedProviders(providers, cache, off_for=settings.cache.off_for)


@asynccontextmanager
async def _open_engine(name: WeightsName, settings: Settings) -> AsyncIterator[Engine]:
    folder = weights_dir(settings)
    weights = await asyncio.to_thread(find_set, name, folder)
    async with open_engine(weights, folder, settings.inference) as engine:
        yield engine


async def _lexicon(name: WeightsName, settings: Settings) -> TermWeigher:
    folder = weights_dir(settings)
    weights = await asyncio.to_thread(find_set, name, folder)
    return await asyncio.to_thread(read_lexicon, weights, folder)


async def _warm(engines: Iterable[TextEngine]) -> None:
    """Embed one text with every engine: what would fail for a caller fails here."""
    for engine in engines:
        token_ids = await engine.tokenize(["warm"], purpose=Purpose.QUERY)
        await engine.embed(token_ids, dimension=1024, lane=Lane.INTERACTIVE)


def next_revision() -> int:
    """
    Make a schema revision from the time of day, in the form of Milvus's hybrid timestamps.

    Milliseconds since 1970, shifted left by 18 bits; so a collection that is dropped and made anew
    has another revision, also across restarts.
    """
    return (time.time_ns() // 1_000_000) << 18
