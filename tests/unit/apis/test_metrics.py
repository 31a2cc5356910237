"""What Prometheus reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from milvane.apis.app import create_app
from milvane.apis.metrics import Measured, is_success
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.errors import MediaRejected
from milvane.domain.models import Lane, Modality
from milvane.domain.readiness import Readiness
from milvane.inference.passes import Counts
from milvane.inference.remote.balancing import Condition
from milvane.inference.remote.counting import ReplicaCounts, ReplicaView
from milvane.measures import Operation
from milvane.media.counting import MediaCounts
from milvane.serving.caching.cache import VectorCache
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

WEIGHTS = ALL_MINILM_L6_V2.name
MODEL = "text-embedding-v4"
SEARCH = "/v3/openapi/workspaces/{}/text-embedding/ops-text-embedding-001"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Counting:
    """An engine that has counted something."""

    counts: Counts = field(default_factory=Counts)

    def pending_inputs(self, lane: Lane) -> int:
        """Let two wait in the bulk lane."""
        return 2 if lane is Lane.BULK else 0


def build(engine: object | None = None) -> FastAPI:
    """Build an application that counts."""
    cache = VectorCache(CacheSettings())
    service = EmbeddingService({WEIGHTS: HashingEngine()}, ServingSettings(), cache=cache)
    engines = {} if engine is None else {WEIGHTS: engine}
    measured = Measured(
        engines=engines,
        models=service.counts,
        cache=cache,
        quota_shares=lambda: {"tenant:north": 0.25, "association:other/text:1": 1.5},
    )
    return create_app(service, ApisSettings(), Readiness, measured=measured)


async def scrape(app: FastAPI, *bodies: dict[str, object], path: str = "/v1/embeddings") -> Samples:
    """Send requests, then read every sample as Prometheus does."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for body in bodies:
            await client.post(path, json=body)
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def only(samples: Samples, name: str, /, **labels: str) -> float:
    """Find the one sample of a name that has these labels."""
    (value,) = [
        value
        for (found, its), value in samples.items()
        if found == name and its >= frozenset(labels.items())
    ]
    return value


async def test_requests_are_counted_by_route_and_status() -> None:
    """Good and bad ones are told apart, and paths that nobody has are one."""
    app = build()
    await scrape(app, {"model": MODEL, "input": "a"}, {"model": "no", "input": "a"})
    await scrape(app, {}, path="/no/1")
    samples = await scrape(app, {}, path="/no/2")
    route = {"method": "http", "operation": "POST /v1/embeddings"}
    assert only(samples, "te_request_count", **route) == 2
    assert only(samples, "te_request_success", **route) == 1
    assert only(samples, "te_request_duration_count", **route, status="200") == 1
    assert only(samples, "te_request_duration_count", **route, status="404") == 1
    assert only(samples, "te_request_count", operation="unknown") == 2
    samples = await scrape(app, {"input": ["a"]}, path=SEARCH.format("somebody"))
    place = "POST /v3/openapi/workspaces/{workspace}/text-embedding/{service_id}"
    assert only(samples, "te_request_count", operation=place) == 1
    assert not any("/no/" in label for _, labels in samples for _, label in labels)


async def test_models_are_counted_by_what_callers_ask() -> None:
    """Tokens, what of them was kept, and failures of embedding."""
    samples = await scrape(build(), *[{"model": MODEL, "input": ["a b", "c"]}] * 2)
    labels = {"gen_ai_request_model": MODEL, "gen_ai_operation_name": "embeddings"}
    assert only(samples, "gen_ai_server_request_duration_seconds_count", **labels) == 2
    assert only(samples, "gen_ai_client_token_usage_sum", **labels, gen_ai_token_type="input") == 6
    assert only(samples, "milvane_cached_tokens_total", **labels) == 3
    assert only(samples, "milvane_cache_vectors_total", source="memory") == 2
    assert only(samples, "milvane_cache_vectors_total", source="computed") == 2
    assert only(samples, "milvane_cache_memory_bytes") > 0


async def test_quotas_are_shown_by_how_full_they_are() -> None:
    """Whatever characters a name has."""
    samples = await scrape(build())
    assert only(samples, "milvane_quota_used_ratio", kind="tenant", name="north") == 0.25
    other = {"kind": "association", "name": "other/text:1"}
    assert only(samples, "milvane_quota_used_ratio", **other) == 1.5


async def test_media_is_shown_by_source_and_refusal() -> None:
    """What came, how long it took, and why something did not."""
    media = MediaCounts()
    media.arrive("address", 1000)
    with media.fetching("address"), media.decoding(Modality.VIDEO):
        pass
    with pytest.raises(MediaRejected), media.fetching("data"):
        raise MediaRejected("it is none")
    service = EmbeddingService({WEIGHTS: HashingEngine()}, ServingSettings())
    app = create_app(service, ApisSettings(), Readiness, measured=Measured(media=media))
    samples = await scrape(app)
    assert only(samples, "milvane_media_arrived_bytes_total", source="address") == 1000
    assert only(samples, "milvane_media_fetch_duration_seconds_count", source="address") == 1
    assert only(samples, "milvane_media_fetch_duration_seconds_count", source="data") == 0
    assert only(samples, "milvane_media_decode_duration_seconds_count", modality="video") == 1
    refused = only(samples, "milvane_media_refusals_total", stage="fetch", kind="media_rejected")
    assert refused == 1


@dataclass
class Elsewhere(Counting):
    """An engine whose network runs on two servers."""

    replicas: tuple[ReplicaView, ...] = ()


async def test_servers_elsewhere_are_shown_one_by_one() -> None:
    """What each was sent, how that ended, how long it takes, and how it stands."""
    sick = ReplicaCounts(requests=7)
    sick.failures.update(time=4, server=1)
    well = ReplicaCounts(requests=9, given_up=2)
    well.answer_times_s.add(0.02)
    urls = ("http://gpu-1:8000", "https://gpu-2/v1")
    engine = Elsewhere(
        replicas=(
            ReplicaView(urls[0], sick, 2, Condition.BROKEN),
            ReplicaView(urls[1], well, 0, Condition.READY),
        )
    )
    samples = await scrape(build(engine))
    first, second = ({"weights": WEIGHTS, "replica": url} for url in urls)
    assert only(samples, "milvane_replica_requests_total", **first) == 7
    assert only(samples, "milvane_replica_failures_total", **first, error_type="time") == 4
    assert only(samples, "milvane_replica_failures_total", **first, error_type="server") == 1
    assert only(samples, "milvane_replica_outstanding", **first) == 2
    assert only(samples, "milvane_replica_condition", **first, condition="broken") == 1
    assert only(samples, "milvane_replica_condition", **first, condition="ready") == 0
    assert only(samples, "milvane_replica_given_up_total", **second) == 2
    assert only(samples, "milvane_replica_request_duration_seconds_count", **second) == 1
    assert only(samples, "milvane_replica_condition", **second, condition="ready") == 1
    assert not any(
        name.startswith("milvane_replica") for name, _ in await scrape(build(Counting()))
    )


async def test_engine_is_shown_by_lane() -> None:
    """What waits, how long, how large passes are, and how much of them is padding."""
    engine = Counting()
    lane = engine.counts.lanes[Lane.BULK]
    lane.waits_s.add(0.02)
    lane.waits_s.add(99.0)
    lane.pass_tokens.add(512)
    lane.pass_inputs.add(12)
    lane.tokens, lane.padded_tokens, lane.refused_requests = 512, 540, 3
    engine.counts.passes, engine.counts.busy_s = 1, 0.5
    samples = await scrape(build(engine))
    bulk = {"weights": WEIGHTS, "lane": "bulk"}
    assert only(samples, "te_queue_size", **bulk) == 2
    assert only(samples, "te_queue_size", weights=WEIGHTS, lane="interactive") == 0
    buckets = [
        only(samples, "te_request_queue_duration_bucket", **bulk, le=bound)
        for bound in ("0.01", "0.025", "60.0", "+Inf")
    ]
    assert buckets == [0, 1, 1, 2]
    assert only(samples, "te_request_queue_duration_sum", **bulk) == pytest.approx(99.02)
    assert only(samples, "te_batch_next_tokens_bucket", **bulk, le="512.0") == 1
    assert only(samples, "te_batch_next_size_sum", **bulk) == 12
    assert only(samples, "milvane_padded_tokens_total", **bulk) == 540
    assert only(samples, "milvane_tokens_total", **bulk) == 512
    assert only(samples, "milvane_refused_requests_total", **bulk) == 3
    assert only(samples, "milvane_passes_total", weights=WEIGHTS) == 1
    assert only(samples, "milvane_busy_seconds_total", weights=WEIGHTS) == 0.5
    assert only(samples, "process_resident_memory_bytes") > 0


async def test_engine_that_counts_nothing_is_left_out() -> None:
    """Other engines are shown all the same."""
    samples = await scrape(build(HashingEngine()))
    assert not any(name.startswith("te_queue") for name, _ in samples)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200", True),
        ("304", True),
        ("404", False),
        ("499", False),
        ("ok", True),
        ("internal", False),
    ],
)
def test_success_is_told_in_both_languages(status: str, expected: bool) -> None:
    """Statuses of HTTP and kinds of errors."""
    assert is_success(status) is expected


def test_operations_are_told_apart() -> None:
    """One count per door, name and status."""
    measured = Measured()
    for status in ("ok", "ok", "internal"):
        measured.operations.add(Operation("milvus", "Search", status), 0.1)
    counts = {each.status: sum(d.counts) for each, d in measured.operations.view().items()}
    assert counts == {"ok": 2, "internal": 1}
