"""
From what Prometheus reads to what OTLP carries. Pure.

Values are the same. Names are too, but for those of OpenTelemetry's own conventions, which get
their dots back: a collector that writes Prometheus's format makes of them the names of `/metrics`.
The kinds follow OpenTelemetry's rules for Prometheus: what is of no kind there is a gauge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.samples import Sample

_CONVENTIONAL: Mapping[str, tuple[str, str]] = {
    "gen_ai_server_request_duration_seconds": ("gen_ai.server.request.duration", "s"),
    "gen_ai_client_token_usage": ("gen_ai.client.token.usage", "{token}"),
}
"""Names and units of OpenTelemetry's conventions, by those that Prometheus reads."""

_LABELS: Mapping[str, str] = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_token_type": "gen_ai.token.type",
    "error_type": "error.type",
}
_CUMULATIVE = AggregationTemporality.CUMULATIVE


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when was counted, in nanoseconds since 1970."""

    begins_ns: int
    ends_ns: int


def to_otlp(
    families: Iterable[Family], span: Span, resource: Resource, *, version: str
) -> MetricsData:
    """
    Write what was counted since the start of the process.

    Args:
        families: As Prometheus reads them; those without samples are left out.

        span: Of the counting.

        resource: Who has counted.

        version: Of this program.
    """
    metrics = [_metric(family, span) for family in families if family.samples]
    scope = ScopeMetrics(InstrumentationScope("milvane", version), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, span: Span) -> Metric:
    name, unit = _CONVENTIONAL.get(family.name, (family.name, ""))
    data: Sum | Gauge | Histogram
    if family.type == "histogram":
        data = Histogram(_histograms(family.samples, span), _CUMULATIVE)
    elif family.type == "counter":
        data = Sum(_numbers(family.samples, span), _CUMULATIVE, is_monotonic=True)
    else:
        data = Gauge(_numbers(family.samples, span))
    return Metric(name, family.documentation, unit, data)


def _numbers(samples: Sequence[Sample], span: Span) -> list[NumberDataPoint]:
    return [
        NumberDataPoint(_attributes(each.labels), span.begins_ns, span.ends_ns, float(each.value))
        for each in samples
        if not each.name.endswith("_created")
    ]


def _histograms(samples: Sequence[Sample], span: Span) -> list[HistogramDataPoint]:
    """Put the samples of each histogram together, and take the buckets apart."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, int]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for each in samples:
        labels = dict(each.labels)
        bound = labels.pop("le", None)
        key = tuple(labels.items())
        if bound is not None:
            buckets.setdefault(key, []).append((float(bound), int(each.value)))
        elif each.name.endswith("_sum"):
            sums[key] = each.value
    points = []
    for key, found in buckets.items():
        bounds, counts = zip(*sorted(found), strict=True)
        points.append(
            HistogramDataPoint(
                attributes=_attributes(dict(key)),
                start_time_unix_nano=span.begins_ns,
                time_unix_nano=span.ends_ns,
                count=counts[-1],
                sum=sums.get(key, 0.0),
                bucket_counts=[
                    count - before for before, count in zip((0, *counts), counts, strict=False)
                ],
                explicit_bounds=bounds[:-1],
                min=None,  # type: ignore[arg-type]  # nobody has kept it: the field is left out
                max=None,  # type: ignore[arg-type]
            )
        )
    return points


def _attributes(labels: Mapping[str, str]) -> dict[str, str]:
    return {_LABELS.get(name, name): value for name, value in labels.items()}
