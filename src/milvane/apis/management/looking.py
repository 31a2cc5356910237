"""The running server: its health, its settings, its models, and what its instances hold."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Annotated, Protocol, runtime_checkable

from fastapi import APIRouter, Query
from pydantic import BaseModel

from milvane.apis.management.bundle import ByManager, Management
from milvane.apis.management.ports import (
    EffectiveSetting,
    Insight,
    Inspector,
    WeightsState,
)
from milvane.apis.management.wire import Body
from milvane.apis.metrics import CountingEngine
from milvane.control_plane.loading import switch_weights
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS, PICTURE_WEIGHTS
from milvane.domain.collections import CollectionPage, CollectionQuery
from milvane.domain.embedded import EMBEDDED_PICTURES
from milvane.domain.errors import NotFound
from milvane.domain.models import Lane
from milvane.inference.engine import EngineFacts
from milvane.serving.caching.cache import VectorCache
from milvane.serving.callers import calling
from milvane.serving.measuring import ModelCounts

MAX_COLLECTIONS = 200
"""Described at once; an instance may have thousands."""

STAND_INS: Mapping[str, str] = {
    ALL_MINILM_L6_V2.name: "a small model for English, there so that nothing has to be set up",
    PICTURE_WEIGHTS: EMBEDDED_PICTURES.note,
}
"""What weights are in truth that a fresh installation puts behind the names of larger models."""


@runtime_checkable
class DescribedEngine(CountingEngine, Protocol):
    """An engine of which there is something to tell."""

    @property
    def facts(self) -> EngineFacts:
        """What runs."""


class ServerAnswer(BaseModel):
    """The server as a whole."""

    version: str
    python: str
    region: str
    started_at: datetime
    is_ready: bool
    reasons: Sequence[str]
    """Why a request would fail now."""
    instance_ports: Mapping[str, int]
    """Of the Milvus protocol."""


class SettingsAnswer(BaseModel):
    """All settings in force."""

    settings: Sequence[EffectiveSetting]


class EngineAnswer(BaseModel):
    """A set of weights that is loaded, and what it did since the start."""

    weights: str
    version: str
    runtime: str
    precision: str
    threads: int
    width: int
    window_tokens: int
    fingerprint: str
    passes: int
    failed_passes: int
    tokens: int
    padded_tokens: int
    """With padding."""
    busy_s: float
    up_s: float
    refused_requests: int
    waiting_interactive: int
    """Windows of texts."""
    waiting_bulk: int


class ModelAnswer(BaseModel):
    """A model that callers can name, and what was asked of it since the start."""

    model: str
    weights: str | None
    """None if nothing here serves it."""
    stand_in: str
    """What the weights are in truth, where they only stand in for the model; else empty."""
    requests: int
    average_s: float | None
    cached_tokens: int
    failures: int


class WeightsAnswer(BaseModel):
    """A set of weights that serves models here."""

    weights: str
    models: Sequence[str]
    """Those that it serves."""
    is_wanted: bool
    """Whether operators want it in memory."""
    state: WeightsState
    trouble: str
    """Why it could not be loaded; empty if it could."""


class WeightsBody(Body):
    """What is to become of weights."""

    is_loaded: bool


class CacheAnswer(BaseModel):
    """Vectors that were asked for since the start, by where they came from."""

    memory: int
    disk: int
    joined: int
    computed: int
    memory_bytes: int


class ModelList(BaseModel):
    """What computes, and under which names."""

    engines: Sequence[EngineAnswer]
    weights: Sequence[WeightsAnswer]
    models: Sequence[ModelAnswer]
    cache: CacheAnswer | None


def looking_router(management: Management, insight: Insight) -> APIRouter:
    """Build the routes that look into the server."""
    router = APIRouter()

    @router.get("/server")
    async def show_server() -> ServerAnswer:
        """Say how the server stands."""
        readiness = insight.readiness()
        return ServerAnswer(
            version=version("milvane"),
            python=platform.python_version(),
            region=management.plane.region,
            started_at=insight.started_at,
            is_ready=readiness.is_ready,
            reasons=readiness.reasons,
            instance_ports=management.served_instances(),
        )

    @router.get("/settings")
    async def show_settings() -> SettingsAnswer:
        """List the settings in force; what is secret is hidden."""
        return SettingsAnswer(settings=insight.settings())

    @router.get("/models")
    async def list_models() -> ModelList:
        """List the weights that are loaded, the models they serve, and what was computed."""
        up_s = (management.clock() - insight.started_at).total_seconds()
        cache = insight.measured.cache
        return ModelList(
            engines=list(_show_engines(insight, up_s)),
            weights=_show_weights(management),
            models=[
                _show_model(name, management, insight.measured.models.get(name)) for name in MODELS
            ],
            cache=_show_cache(cache) if cache else None,
        )

    if management.weights is not None:
        _add_weights(router, management)

    @router.get("/instances/{name}/collections")
    async def list_collections(
        name: str,
        manager: ByManager,
        database: str = "",
        contains: Annotated[str, Query(max_length=255)] = "",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_COLLECTIONS)] = MAX_COLLECTIONS,
    ) -> CollectionPage:
        """Describe the collections of an instance, and which model fills which of their fields."""
        inspector = find_inspector(insight, name)
        with calling(manager.caller):
            query = CollectionQuery(database, contains, offset, limit)
            return await inspector.list_collections(query)

    return router


def _add_weights(router: APIRouter, management: Management) -> None:
    @router.patch("/weights/{name:path}", status_code=202)
    async def change_weights(name: str, body: WeightsBody, manager: ByManager) -> WeightsAnswer:
        """Have every server load weights, or unload them once work under way has ended."""
        standings = management.weights.standings if management.weights else {}
        deployed = {*map(str, management.served_by.values()), *standings}
        work = partial(switch_weights, weights=name, on=body.is_loaded, deployed=deployed)
        await management.plane.change(manager.name, work)
        for each in _show_weights(management):
            if each.weights == name:
                return each
        raise NotFound(f"this server does not have the weights {name!r}")


def _show_weights(management: Management) -> list[WeightsAnswer]:
    standings = management.weights.standings if management.weights else {}
    unloaded = management.plane.snapshot.unloaded
    return [
        WeightsAnswer(
            weights=name,
            models=sorted(
                model for model, weights in management.served_by.items() if weights == name
            ),
            is_wanted=name not in unloaded,
            state=standing.state,
            trouble=standing.trouble,
        )
        for name, standing in standings.items()
    ]


def find_inspector(insight: Insight, instance: str) -> Inspector:
    """
    Find who looks into an instance.

    Raises:
        NotFound: If this server does not serve it.
    """
    inspector = insight.inspectors().get(instance)
    if inspector is None:
        raise NotFound(f"this server has no instance {instance!r}")
    return inspector


def _show_engines(insight: Insight, up_s: float) -> Iterator[EngineAnswer]:
    for engine in insight.measured.engines.values():
        if not isinstance(engine, DescribedEngine):
            continue
        facts, counts = engine.facts, engine.counts
        yield EngineAnswer(
            weights=facts.weights,
            version=facts.version,
            runtime=facts.runtime,
            precision=facts.precision,
            threads=facts.threads,
            width=facts.width,
            window_tokens=facts.window_tokens,
            fingerprint=facts.fingerprint,
            passes=counts.passes,
            failed_passes=counts.failed_passes,
            tokens=counts.tokens,
            padded_tokens=counts.padded_tokens,
            busy_s=counts.busy_s,
            up_s=up_s,
            refused_requests=counts.refused_requests,
            waiting_interactive=engine.pending_inputs(Lane.INTERACTIVE),
            waiting_bulk=engine.pending_inputs(Lane.BULK),
        )


def _show_model(name: str, management: Management, counts: ModelCounts | None) -> ModelAnswer:
    counts = counts or ModelCounts()
    requests = sum(counts.durations_s.counts)
    weights = {str(model): found for model, found in management.served_by.items()}
    return ModelAnswer(
        model=name,
        weights=weights.get(name),
        stand_in=STAND_INS.get(weights.get(name, ""), ""),
        requests=requests,
        average_s=counts.durations_s.total / requests if requests else None,
        cached_tokens=counts.cached_tokens,
        failures=sum(counts.failures.values()),
    )


def _show_cache(cache: VectorCache) -> CacheAnswer:
    counts = cache.counts
    return CacheAnswer(
        memory=counts.memory,
        disk=counts.disk,
        joined=counts.joined,
        computed=counts.computed,
        memory_bytes=cache.memory.bytes,
    )
