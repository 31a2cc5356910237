"""An application in front of the hashing engine, and a client that needs no socket."""

from collections.abc import AsyncIterator

import httpx
import pytest

from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine


@pytest.fixture
def engine() -> HashingEngine:
    """Hold the engine behind `client`."""
    return HashingEngine()


@pytest.fixture
async def client(engine: HashingEngine) -> AsyncIterator[httpx.AsyncClient]:
    """Speak to an application with small limits."""
    service = EmbeddingService(
        {ALL_MINILM_L6_V2.name: engine},
        ServingSettings(),
        weighers={ALL_MINILM_L6_V2.name: CountingWeigher()},
    )
    settings = ApisSettings(max_body_bytes=100_000, max_inputs=20)
    transport = httpx.ASGITransport(create_app(service, settings, Readiness))
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
        yield client
