"""
The whole server: what it consists of, once its slowest parts are on their way (`starting`).

Importing this brings the frameworks in, most of a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fastapi import FastAPI

from milvane.apis.app import create_app
from milvane.apis.metrics import Measured
from milvane.apis.otlp.pusher import OtlpPusher
from milvane.bootstrap.condition import Condition
from milvane.bootstrap.doors import http_port
from milvane.bootstrap.engines import (
    Engines,
    LoadedTexts,
    check_fit,
    token_texts,
    warm,
)
from milvane.bootstrap.governing import Governance
from milvane.bootstrap.instances import AddedInstances, Doors
from milvane.bootstrap.loading import LoadedWeights
from milvane.bootstrap.looking import look_into
from milvane.bootstrap.starting import Begun, Loading, Running, load_beside
from milvane.bootstrap.weights import tell_stand_ins
from milvane.bootstrap.workshop import background, open_files, open_workshop
from milvane.console.pages import console_router
from milvane.domain.catalogue import WeightsName
from milvane.domain.models import ModelName
from milvane.gateway.bindings import Bindings
from milvane.gateway.rpcs.services import Services
from milvane.instances.remote import CredentialMapping
from milvane.instances.upstream import Upstream
from milvane.jobs.worker import JobWorker
from milvane.media.desk import MediaDesk, open_desk
from milvane.media.opening import open_reader
from milvane.media.reader import OwnStores
from milvane.providers.service import ProviderService
from milvane.serving.caching.cache import VectorCache, open_cache
from milvane.serving.caching.providers import CachedProviders
from milvane.serving.contents import ContentService
from milvane.serving.embedding import EmbeddingService
from milvane.serving.functions import NoProviders
from milvane.serving.ports import RemoteProviders
from milvane.settings import Settings, has_collector, provider_environment
from milvane.storage.files import FileStore


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
    doors: Doors
    desk: MediaDesk | None
    """The media store; absent where none is kept."""
    files: FileStore
    providers: RemoteProviders = field(default_factory=NoProviders)
    """Those of the settings, once they are open."""
    added: AddedInstances = field(init=False)
    weights: LoadedWeights = field(init=False)

    def __post_init__(self) -> None:
        """Have what operators change while the server runs followed."""
        plane = self.governance.plane
        self.added = AddedInstances(self.doors, plane, lambda: _services(self))
        self.weights = LoadedWeights(
            lambda name, texts: load_beside(name, self.settings, texts),
            self.engines,
            self.condition.reasons,
            plane,
            abortable=self.settings.inference.remote,
        )


async def complete(begun: Begun) -> Running:
    """
    Build the rest of a server whose slow parts are on their way, and open its doors.

    Returns:
        The ports really bound, once a raw-text search would succeed.

    Raises:
        ServiceError: If a part cannot start; the message names the cause and the cure.
    """
    settings = begun.settings
    server = await _build(begun)
    app, worker = await _create_apis(server)
    # The probes answer from here on: alive, and not ready yet. So does whatever its weights allow.
    http = await begun.doors.enter_async_context(http_port(app, settings))
    providers = await begun.beneath.enter_async_context(
        ProviderService(settings.providers, environment=provider_environment())
    )
    upstreams = await _join(server, begun)
    tell_stand_ins(server.served_by)
    await begun.welcome
    await begun.beneath.enter_async_context(server.weights)
    if server.cache is not None:
        off_for = settings.cache.off_for
        server.providers = CachedProviders(providers, server.cache, off_for=off_for)
    else:
        server.providers = providers
    for instance, upstream in zip(settings.instances, upstreams, strict=True):
        door = server.doors.open(instance, upstream, _services(server))
        await begun.doors.enter_async_context(door)
    await begun.doors.enter_async_context(server.added)
    await begun.beneath.enter_async_context(worker)
    if has_collector(settings):
        await begun.beneath.enter_async_context(OtlpPusher(settings.otlp, server.measured))
    return Running(grpc_ports=server.doors.ports, http_port=http.port)


async def _join(server: _Server, begun: Begun) -> list[Upstream | CredentialMapping]:
    """Let weights be used as they come, and wait until all have and every Milvus is connected."""
    taking = asyncio.ensure_future(_take(server, begun.loading))
    try:
        _, upstreams = await asyncio.gather(taking, asyncio.gather(*begun.connecting))
        return upstreams
    finally:
        taking.cancel()  # where a Milvus cannot be had


async def _take(server: _Server, loading: Mapping[WeightsName, Loading]) -> None:
    for name, each in loading.items():
        loaded = await each.loaded
        if isinstance(loaded, LoadedTexts):
            await warm([loaded.engine])
        server.weights.take(name, each.stack, loaded)
        check_fit(server.served_by, server.engines)


async def _build(begun: Begun) -> _Server:
    """Build what needs neither weights nor a Milvus."""
    settings, parts, served_by = begun.settings, begun.parts, begun.served_by
    engines = Engines(loading=set(begun.loading))
    governance, database = begun.governance, begun.governance.database
    cache = await parts.enter_async_context(open_cache(settings.cache, settings.server.data_dir))
    desk = None
    if settings.media.is_on:
        desk = await parts.enter_async_context(
            open_desk(database, settings.media, settings.server.data_dir)
        )
    files = await open_files(database, settings)
    reader = await parts.enter_async_context(
        open_reader(settings.media_reader, settings.server.data_dir, OwnStores(desk, files))
    )
    contents = ContentService(
        engines.contents,
        reader,
        settings.serving,
        served_by=served_by,
        cache=cache,
        cache_off_for=settings.cache.off_for,
        accounts=governance.accounts,
        loading=engines.loading,
    )
    embedding = EmbeddingService(
        engines.texts,
        settings.serving,
        weighers=engines.weighers,
        term_engines=engines.terms,
        cache=cache,
        cache_off_for=settings.cache.off_for,
        served_by=served_by,
        accounts=governance.accounts,
        contents=contents,
        loading=engines.loading,
    )
    measured = Measured(
        engines=engines.counting(),
        models=embedding.counts,
        cache=cache,
        quota_shares=governance.plane.month_shares,
        media=reader.counts,
    )
    doors = Doors(settings, governance.authenticator, measured.operations)
    return _Server(
        settings=settings,
        served_by=served_by,
        governance=governance,
        cache=cache,
        embedding=embedding,
        engines=engines,
        measured=measured,
        condition=begun.condition,
        doors=doors,
        desk=desk,
        files=files,
    )


async def _create_apis(server: _Server) -> tuple[FastAPI, JobWorker]:
    """Build the HTTP application, and what does its jobs."""
    settings, governance = server.settings, server.governance
    vocabulary = await asyncio.to_thread(token_texts, settings)
    workshop = open_workshop(
        governance.database, server.files, server.embedding, settings, vocabulary
    )
    worker = JobWorker(workshop)
    app = create_app(
        server.embedding,
        settings.apis,
        server.condition.readiness,
        background=background(workshop, worker, settings),
        authenticator=governance.authenticator,
        vocabulary=vocabulary,
        measured=server.measured,
        management=replace(
            governance.management(settings, server.served_by, server.doors.ports),
            doors=server.added,
            weights=server.weights,
            insight=look_into(
                settings,
                server.embedding,
                server.measured,
                readiness=server.condition.readiness,
                inspectors=server.doors.inspectors,
                workshop=workshop,
                worker=worker,
            ),
        ),
        media=server.desk,
        pages=[console_router()],
    )
    return app, worker


def _services(server: _Server) -> Services:
    gateway = server.settings.gateway
    return Services(
        embedding=server.embedding,
        bindings=Bindings(max_cached=gateway.max_cached_collections),
        next_revision=next_revision,
        providers=server.providers,
        compat=gateway.compat,
        other_weights=gateway.other_weights,
    )


def next_revision() -> int:
    """
    Make a schema revision from the time of day, in the form of Milvus's hybrid timestamps.

    Milliseconds since 1970, shifted left by 18 bits; so a collection that is dropped and made anew
    has another revision, also across restarts.
    """
    return (time.time_ns() // 1_000_000) << 18
