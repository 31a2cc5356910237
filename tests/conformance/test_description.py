"""The description of the APIs, held to what the server really answers."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine

WEIGHTS = ALL_MINILM_L6_V2.name
SERVICE = EmbeddingService(
    {WEIGHTS: HashingEngine()},
    ServingSettings(),
    weighers={WEIGHTS: CountingWeigher()},
    served_by=dict.fromkeys(MODELS, WEIGHTS),
)
APP = create_app(SERVICE, ApisSettings(limit_rates=False), Readiness)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case: schemathesis.Case) -> None:
    """Whatever fits the description, or nearly does, is answered in a described form."""
    answer = case.call_and_validate(
        checks=[
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ]
    )
    # A 503 says that weights for images are missing; a 500 would be a defect.
    assert answer.status_code != 500
    assert answer.headers["x-request-id"]
