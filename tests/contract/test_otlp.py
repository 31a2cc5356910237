"""Metrics that are pushed: to a collector on this machine that decodes what it is sent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.samples import Sample
from pydantic import SecretStr

from milvane.apis.metrics import Measured, open_registry
from milvane.apis.otlp.pusher import OtlpPusher
from milvane.apis.otlp.settings import OtlpSettings
from milvane.measures import Operation, Operations
from milvane.serving.measuring import ModelCounts
from milvane.testing.servers import MilvaneProcess

MODEL = "text-embedding-v4"
Labels = frozenset[tuple[str, str]]


class Collector:
    """An OpenTelemetry collector that remembers what it was sent, and answers what it is told."""

    def __init__(self) -> None:
        self.pushes: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.has_come = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def points(self, place: int = -1) -> dict[str, dict[Labels, Any]]:
        """Read one push: by metric, then by labels, each point."""
        [resource] = self.pushes[place].resource_metrics
        [scope] = resource.scope_metrics
        found = {}
        for metric in scope.metrics:
            points = getattr(metric, metric.WhichOneof("data")).data_points
            found[metric.name] = {
                frozenset((each.key, each.value.string_value) for each in point.attributes): point
                for point in points
            }
        return found


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/metrics" and collector.status == 200:
                collector.pushes.append(ExportMetricsServiceRequest.FromString(content))
                collector.headers.append({k.lower(): v for k, v in self.headers.items()})
                collector.has_come.set()
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the library
            """Say nothing."""

    return Handler


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector."""
    with Collector() as collector:
        yield collector


def measured() -> Measured:
    """Count something of each kind."""
    operations = Operations()
    for duration_s in (0.002, 0.03, 0.03, 70.0):
        operations.add(Operation("http", "POST /v1/embeddings", "200"), duration_s)
    counts = ModelCounts(failures={"overloaded": 3})
    for tokens in (5, 50):
        counts.durations_s.add(0.01)
        counts.tokens.add(tokens)
    counts.cached_tokens = 7
    shares = {"tenant:north": 0.25}
    return Measured(operations=operations, models={MODEL: counts}, quota_shares=lambda: shares)


def a_pusher(collector: Collector, **more: Any) -> OtlpPusher:
    """Push when told to."""
    settings = OtlpSettings(endpoint=collector.url, **{"interval_s": 1e6, "timeout_s": 2.0, **more})
    return OtlpPusher(settings, measured())


def shown() -> Iterator[tuple[str, str, Sample]]:
    """List what `/metrics` shows of the same."""
    for family in open_registry(measured()).collect():
        for sample in family.samples:
            yield family.name, family.type, sample


async def test_push_has_the_names_and_values_that_prometheus_reads(collector: Collector) -> None:
    """Every sample is there; those of OpenTelemetry's conventions under the names of those."""
    async with a_pusher(collector) as pusher:
        assert await pusher.push()
    found = collector.points(0)
    names = {
        "gen_ai_server_request_duration_seconds": "gen_ai.server.request.duration",
        "gen_ai_client_token_usage": "gen_ai.client.token.usage",
    }
    compared = set()
    for family, kind, sample in shown():
        if family.startswith("process_") or kind == "histogram":
            assert names.get(family, family) in found
            continue
        labels = frozenset((dotted(name), value) for name, value in sample.labels.items())
        assert found[family][labels].as_double == sample.value, (family, sample)
        compared.add(family)
    assert {"te_request_count", "milvane_cached_tokens", "milvane_quota_used_ratio"} <= compared


def dotted(label: str) -> str:
    """Write a label as OpenTelemetry's conventions do, where it is one of theirs."""
    return {
        "gen_ai_operation_name": "gen_ai.operation.name",
        "gen_ai_provider_name": "gen_ai.provider.name",
        "gen_ai_request_model": "gen_ai.request.model",
        "error_type": "error.type",
    }.get(label, label)


async def test_histograms_have_counts_of_each_bucket(collector: Collector) -> None:
    """Not cumulative over the buckets, as Prometheus has them; the last is beyond all bounds."""
    async with a_pusher(collector) as pusher:
        await pusher.push()
    [point] = collector.points(0)["te_request_duration"].values()
    assert (point.count, point.sum) == (4, pytest.approx(70.062))
    counted = {
        bound: count
        for bound, count in zip([*point.explicit_bounds, None], point.bucket_counts, strict=True)
        if count
    }
    assert counted == {0.0025: 1, 0.05: 2, None: 1}
    assert not point.HasField("min")
    assert 0 < point.start_time_unix_nano < point.time_unix_nano
    [usage] = collector.points(0)["gen_ai.client.token.usage"].items()
    assert ("gen_ai.request.model", MODEL) in usage[0]
    assert (usage[1].count, usage[1].sum) == (2, 55)


async def test_push_says_who_counted_and_carries_the_headers(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry's own variables count too."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests")
    headers = {"Authorization": SecretStr("Bearer s3cret")}
    async with a_pusher(collector, headers=headers) as pusher:
        await pusher.push()
    [resource] = collector.pushes[0].resource_metrics
    told = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert told["service.name"] == "milvane"
    assert told["deployment.environment.name"] == "tests"
    assert told["service.instance.id"]
    assert collector.headers[0]["authorization"] == "Bearer s3cret"


async def test_collector_that_fails_costs_one_line_and_loses_nothing(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it fails; sums go on from the start."""
    caplog.set_level(logging.INFO)
    async with a_pusher(collector) as pusher:
        collector.status = 400
        assert [await pusher.push() for _ in range(3)] == [False] * 3
        collector.status = 200
        assert [await pusher.push() for _ in range(2)] == [True] * 2
    said = [record.getMessage() for record in caplog.records if "push" in record.getMessage()]
    assert [line.split(" to ")[0] for line in said] == [
        "metrics cannot be pushed",
        "metrics are pushed",
    ]
    first, second = collector.points(0), collector.points(1)
    labels = frozenset({("method", "http"), ("operation", "POST /v1/embeddings")})
    assert [each["te_request_count"][labels].as_double for each in (first, second)] == [4, 4]


async def test_end_of_the_server_waits_for_no_dead_collector() -> None:
    """Nobody listens, and the last push is not waited for longer than a moment."""
    settings = OtlpSettings(endpoint="http://127.0.0.1:9", interval_s=1e6, timeout_s=1e6)
    with anyio.fail_after(20):
        async with OtlpPusher(settings, measured()):
            pass


def test_server_pushes_where_the_environment_names_a_collector(
    collector: Collector, tmp_path: Path
) -> None:
    """As other programs do, at the interval of the settings."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "MILVANE_OTLP__INTERVAL_S": "0.2",
    }
    with MilvaneProcess(tmp_path / "data", environment=environment):
        assert collector.has_come.wait(30)
    assert {"te_queue_size", "milvane_passes", "process_resident_memory_bytes"} <= set(
        collector.points()
    )


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/metrics"),
        ("http://collector:4318/", "http://collector:4318/v1/metrics"),
        ("https://host/otlp/v1/metrics", "https://host/otlp/v1/metrics"),
        (None, None),
    ],
)
def test_address_without_a_path_gets_the_usual_one(endpoint: str | None, url: str | None) -> None:
    """One with a path is taken as it is."""
    assert OtlpSettings(endpoint=endpoint).metrics_url == url
