"""
`GET /metrics`: what the server counts, as Prometheus reads it.

Names that dashboards exist for are kept: those of Text Embeddings Inference (`te_`) for requests,
queue and passes, and those of OpenTelemetry (`gen_ai_`) for what models are asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fastapi import APIRouter
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milvane.domain.catalogue import WeightsName
from milvane.domain.models import Lane
from milvane.inference.passes import Counts
from milvane.measures import Distribution, Operation, Operations
from milvane.media.counting import SOURCES, UNREACHABLE_KIND, MediaCounts
from milvane.serving.caching.cache import CacheCounts, VectorCache
from milvane.serving.caching.disk import DiskCounts
from milvane.serving.measuring import ModelCounts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from milvane.inference.remote.counting import ReplicaView

PATH = "/metrics"
DOOR = "http"
UNKNOWN = "unknown"
"""A path or an RPC that the server does not have."""

HUNG_UP = "499"
"""Status of a request whose caller did not wait for the answer, as nginx writes it."""

_Sample = tuple[Mapping[str, str], float]


@runtime_checkable
class CountingEngine(Protocol):
    """An engine that counts."""

    @property
    def counts(self) -> Counts:
        """What was computed since the start."""

    def pending_inputs(self, lane: Lane) -> int:
        """Say how many windows of texts wait in a lane."""


@runtime_checkable
class RemoteEngine(Protocol):
    """An engine whose network may run on servers elsewhere."""

    @property
    def replicas(self) -> Sequence[ReplicaView]:
        """How these stand; none if it runs here."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All that is shown; each part is looked at when somebody asks."""

    operations: Operations = field(default_factory=Operations)
    engines: Mapping[WeightsName, object] = field(default_factory=dict)
    """By their weights; those that do not count are left out."""
    models: Mapping[str, ModelCounts] = field(default_factory=dict)
    """By the names that callers use."""
    cache: VectorCache | None = None
    quota_shares: Callable[[], Mapping[str, float]] = dict
    """How full each month's quota of tokens is, by its kind and name: ``tenant:north``."""
    media: MediaCounts | None = None
    """What reading images and videos has come to."""


def metrics_router(measured: Measured) -> APIRouter:
    """Build the route that Prometheus scrapes."""
    router = APIRouter(tags=["Health"])
    show: list[Callable[[], tuple[bytes, str]]] = []

    @router.get(PATH, response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Say what was counted since the start, in Prometheus's text format."""
        if not show:  # the library takes 0.2 s to load: the start of the server does without
            show.append(await asyncio.to_thread(_load, measured))
        content, media_type = show[0]()
        return PlainTextResponse(content, media_type=media_type)

    return router


def _load(measured: Measured) -> Callable[[], tuple[bytes, str]]:
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    registry = open_registry(measured)
    return lambda: (generate_latest(registry), CONTENT_TYPE_LATEST)


def open_registry(measured: Measured) -> CollectorRegistry:
    """Put all that is shown together; each look at it reads everything anew."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(measured))
    ProcessCollector(registry=registry)
    return registry


class _Collector:
    """Reads everything anew for each scrape."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    def describe(self) -> Sequence[Metric]:
        """Nothing is known before something was counted."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """List what was counted, by name."""
        measured = self._measured
        yield from _requests(measured.operations)
        yield from _models(measured.models)
        engines = {
            str(name): engine
            for name, engine in measured.engines.items()
            if isinstance(engine, CountingEngine)
        }
        yield from _queues(engines)
        yield from _passes(engines)
        yield from _replicas(
            [
                ({"weights": str(name), "replica": replica.url}, replica)
                for name, engine in measured.engines.items()
                if isinstance(engine, RemoteEngine)
                for replica in engine.replicas
            ]
        )
        if (cache := measured.cache) is not None:
            disk = None if cache.disk is None else cache.disk.counts
            yield from _cached(cache.counts, cache.memory.bytes, disk)
        yield from _quotas(measured.quota_shares())
        if measured.media is not None:
            yield from _media(measured.media)


def show_all() -> Iterator[Metric]:
    """List every metric there is, with an invented sample of each, for the reference."""
    from milvane.inference.remote.balancing import Condition
    from milvane.inference.remote.counting import ReplicaCounts, ReplicaView

    operations = Operations()
    operations.add(Operation(DOOR, "POST /v1/embeddings", "200"), 0.0)
    engine = _Idle()
    models = {"text-embedding-v4": ModelCounts(failures={"overloaded": 0})}
    yield from _requests(operations)
    yield from _models(models)
    yield from _queues({"all-minilm-l6-v2": engine})
    yield from _passes({"all-minilm-l6-v2": engine})
    url, seen = "http://gpu-1:8000", ReplicaCounts(failures=Counter({"time": 0}))
    yield from _replicas(
        [({"weights": "gpus", "replica": url}, ReplicaView(url, seen, 0, Condition.READY))]
    )
    yield from _cached(CacheCounts(), 0, DiskCounts())
    yield from _quotas({"tenant:default": 0.0})
    yield from _media(MediaCounts(refusals=Counter({("fetch", UNREACHABLE_KIND): 0})))


class _Idle:
    """An engine that was never asked."""

    counts = Counts()

    def pending_inputs(self, lane: Lane) -> int:  # noqa: ARG002 - named by the protocol
        """Nothing waits."""
        return 0


def _requests(operations: Operations) -> Iterator[Metric]:
    durations = [
        ({"method": each.door, "operation": each.name, "status": each.status}, distribution)
        for each, distribution in operations.view().items()
    ]
    yield _histogram("te_request_duration", "Seconds until a request was answered.", durations)
    totals: dict[tuple[str, str], list[int]] = {}
    for each, distribution in operations.view().items():
        counts = totals.setdefault((each.door, each.name), [0, 0])
        counts[0] += sum(distribution.counts)
        counts[1] += sum(distribution.counts) * is_success(each.status)
    for place, name, text in (
        (0, "te_request_count", "Requests."),
        (1, "te_request_success", "Requests that succeeded."),
    ):
        samples = [
            ({"method": door, "operation": operation}, counts[place])
            for (door, operation), counts in totals.items()
        ]
        # Counters, but without the ending that the library would give them: TEI's have none.
        yield _plain(name, text, samples)


def _models(models: Mapping[str, ModelCounts]) -> Iterator[Metric]:
    asked = {name: _model_labels(name) for name in models}
    yield _histogram(
        "gen_ai_server_request_duration_seconds",
        "Seconds that embedding the texts of a request took.",
        [(asked[name], counts.durations_s) for name, counts in models.items()],
    )
    yield _histogram(
        "gen_ai_client_token_usage",
        "Tokens of a request.",
        [
            ({**asked[name], "gen_ai_token_type": "input"}, counts.tokens)
            for name, counts in models.items()
        ],
    )
    yield _counter(
        "milvane_cached_tokens",
        "Tokens whose vectors were not computed for the request.",
        [(asked[name], counts.cached_tokens) for name, counts in models.items()],
    )
    yield _counter(
        "milvane_failed_embeddings",
        "Requests whose texts were not embedded.",
        [
            ({**asked[name], "error_type": kind}, count)
            for name, counts in models.items()
            for kind, count in counts.failures.items()
        ],
    )


def _model_labels(model: str) -> dict[str, str]:
    return {
        "gen_ai_operation_name": "embeddings",
        "gen_ai_provider_name": "milvane",
        "gen_ai_request_model": model,
    }


def _queues(engines: Mapping[str, CountingEngine]) -> Iterator[Metric]:
    lanes = [
        ({"weights": name, "lane": lane.value}, engine.counts.lanes[lane])
        for name, engine in engines.items()
        for lane in Lane
    ]
    waiting = [
        ({"weights": name, "lane": lane.value}, engine.pending_inputs(lane))
        for name, engine in engines.items()
        for lane in Lane
    ]
    yield _plain("te_queue_size", "Windows of texts that wait.", waiting, kind="gauge")
    for name, text, read in (
        ("te_request_queue_duration", "Seconds until a request's first pass.", "waits_s"),
        ("te_request_inference_duration", "Seconds of a forward pass.", "pass_times_s"),
        ("te_batch_next_size", "Inputs of a forward pass.", "pass_inputs"),
        ("te_batch_next_tokens", "Tokens of a forward pass.", "pass_tokens"),
    ):
        yield _histogram(name, text, [(labels, getattr(lane, read)) for labels, lane in lanes])
    for name, text, read in (
        ("milvane_tokens", "Tokens computed.", "tokens"),
        ("milvane_padded_tokens", "Tokens computed, padding included.", "padded_tokens"),
        ("milvane_refused_requests", "Requests refused for a full queue.", "refused_requests"),
        ("milvane_expired_requests", "Requests past their deadline.", "expired_requests"),
    ):
        yield _counter(name, text, [(labels, getattr(lane, read)) for labels, lane in lanes])


def _passes(engines: Mapping[str, CountingEngine]) -> Iterator[Metric]:
    for name, text, read in (
        ("milvane_passes", "Forward passes.", "passes"),
        ("milvane_failed_passes", "Forward passes that failed.", "failed_passes"),
        ("milvane_split_passes", "Forward passes too large for the memory.", "split_passes"),
        ("milvane_given_up_passes", "Remote passes that nobody waited for.", "given_up_passes"),
        ("milvane_busy_seconds", "Seconds spent in forward passes.", "busy_s"),
    ):
        samples = [
            ({"weights": weights}, getattr(engine.counts, read))
            for weights, engine in engines.items()
        ]
        yield _counter(name, text, samples)


def _replicas(replicas: Sequence[tuple[Mapping[str, str], ReplicaView]]) -> Iterator[Metric]:
    yield _counter(
        "milvane_replica_requests",
        "Requests to a server that runs weights elsewhere, repeats and hedges among them.",
        [(labels, replica.counts.requests) for labels, replica in replicas],
    )
    yield _counter(
        "milvane_replica_failures",
        "Of them, those without vectors, by whose fault it was.",
        [
            ({**labels, "error_type": blame}, count)
            for labels, replica in replicas
            for blame, count in replica.counts.failures.copy().items()
        ],
    )
    yield _counter(
        "milvane_replica_given_up",
        "Of them, those that another server was faster with, or nobody waited for.",
        [(labels, replica.counts.given_up) for labels, replica in replicas],
    )
    yield _histogram(
        "milvane_replica_request_duration_seconds",
        "Seconds until such a server gave vectors.",
        [(labels, replica.counts.answer_times_s) for labels, replica in replicas],
    )
    yield _plain(
        "milvane_replica_outstanding",
        "Requests under way to such a server.",
        [(labels, replica.outstanding) for labels, replica in replicas],
        kind="gauge",
    )
    yield _plain(
        "milvane_replica_condition",
        "1 for what such a server is: ready, resting, broken, on_trial or lost; else 0.",
        [
            ({**labels, "condition": each.value}, each is replica.condition)
            for labels, replica in replicas
            for each in type(replica.condition)
        ],
        kind="gauge",
    )


def _cached(counts: CacheCounts, memory_bytes: int, disk: DiskCounts | None) -> Iterator[Metric]:
    yield _counter(
        "milvane_cache_vectors",
        "Vectors that were asked for, by where they came from.",
        [
            ({"source": source}, getattr(counts, source))
            for source in ("memory", "disk", "joined", "computed")
        ],
    )
    yield _plain(
        "milvane_cache_memory_bytes",
        "Memory that kept vectors take.",
        [({}, memory_bytes)],
        kind="gauge",
    )
    if disk is not None:
        for name, text in (
            ("written", "Vectors written to the disk."),
            ("dropped", "Vectors that could not be written."),
            ("failures", "Failures of the disk or the file."),
        ):
            sample: _Sample = ({}, getattr(disk, name))
            yield _counter(f"milvane_cache_disk_{name}", text, [sample])


def _quotas(shares: Mapping[str, float]) -> Iterator[Metric]:
    parts = [(subject.partition(":"), share) for subject, share in shares.items()]
    yield _plain(
        "milvane_quota_used_ratio",
        "Used part of a month's quota of tokens.",
        [({"kind": kind, "name": name}, share) for (kind, _, name), share in parts],
        kind="gauge",
    )


def _media(counts: MediaCounts) -> Iterator[Metric]:
    yield _histogram(
        "milvane_media_fetch_duration_seconds",
        "Seconds until an image or a video was here, by how it was named.",
        [({"source": source}, times_s) for source, times_s in counts.fetch_times_s.items()],
    )
    for name, text, by_source in (
        ("milvane_media_arrived", "Images and videos that were not here already.", counts.arrived),
        ("milvane_media_arrived_bytes", "Bytes of them.", counts.arrived_bytes),
    ):
        yield _counter(name, text, [({"source": each}, by_source[each]) for each in SOURCES])
    yield _histogram(
        "milvane_media_decode_duration_seconds",
        "Seconds until an image or a video was decoded, its turn included.",
        [({"modality": each.value}, times_s) for each, times_s in counts.decode_times_s.items()],
    )
    yield _counter(
        "milvane_media_refusals",
        "Images and videos that were not had, or not decoded, by why.",
        [
            ({"stage": stage, "kind": kind}, count)
            for (stage, kind), count in counts.refusals.items()
        ],
    )


def _histogram(
    name: str, text: str, parts: Sequence[tuple[Mapping[str, str], Distribution]]
) -> Metric:
    from prometheus_client.metrics_core import HistogramMetricFamily

    names = list(parts[0][0]) if parts else []
    family = HistogramMetricFamily(name, text, labels=names)
    for labels, distribution in parts:
        bounds = [*map(str, map(float, distribution.bounds)), "+Inf"]
        buckets = list(zip(bounds, accumulate(distribution.counts), strict=True))
        family.add_metric(list(labels.values()), buckets, distribution.total)
    return family


def _counter(name: str, text: str, samples: Sequence[_Sample]) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=list(samples[0][0]) if samples else [])
    for labels, value in samples:
        family.add_metric(list(labels.values()), value)
    return family


def _plain(name: str, text: str, samples: Sequence[_Sample], kind: str = "unknown") -> Metric:
    from prometheus_client.metrics_core import Metric

    metric = Metric(name, text, kind)
    for labels, value in samples:
        metric.add_sample(name, dict(labels), value)
    return metric


def is_success(status: str) -> bool:
    """Say whether a status of either front door is one of success."""
    return status == "ok" or status.startswith(("1", "2", "3"))


class RequestTimes:
    """Counts each HTTP request by its route and status; outermost, so that nothing is missed."""

    def __init__(self, app: ASGIApp, *, operations: Operations) -> None:
        self._app = app
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun_s = HUNG_UP, time.monotonic()

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            operation = Operation(DOOR, _route_of(scope), status)
            self._operations.add(operation, time.monotonic() - begun_s)


def _route_of(scope: Mapping[str, Any]) -> str:
    # The route as it is written, never what a caller put into it: that could be new for ever.
    if scope.get("endpoint") is None:
        return UNKNOWN
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return f"{scope['method']} {path}"
