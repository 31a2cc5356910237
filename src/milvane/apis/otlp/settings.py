"""Settings of the way to a collector."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from milvane.sections import Section


class OtlpSettings(Section):
    """Metrics that are pushed as OTLP over HTTP, with the extra `otlp`."""

    endpoint: str | None = Field(
        default=None,
        description="Address of a collector, `http://collector:4318`, to which `/v1/metrics` is "
        "added where it has no path. If not given, OpenTelemetry's own variables count "
        "(`OTEL_EXPORTER_OTLP_ENDPOINT`, ...), and without those nothing is pushed.",
    )
    headers: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="Headers of each push, such as `authorization`."
    )
    interval_s: float = Field(default=60.0, gt=0, description="Seconds from one push to the next.")
    timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds that a push may take, with its attempts."
    )

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must look like http://collector:4318")
        return endpoint

    @property
    def metrics_url(self) -> str | None:
        """Where metrics go, where the settings say it."""
        if self.endpoint is None:
            return None
        parts = urlsplit(self.endpoint)
        return self.endpoint if parts.path.strip("/") else f"{self.endpoint.rstrip('/')}/v1/metrics"
