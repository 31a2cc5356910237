"""The unmodified SDK of the AI Search Open Platform on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alibabacloud_searchplat20240529 import models
from alibabacloud_searchplat20240529.client import Client
from alibabacloud_tea_openapi.models import Config

from loopback import served_app
from milvane.apis.app import create_app
from milvane.apis.health import Readiness
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS, SERVED_BY
from milvane.domain.models import ModelName
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine

WEIGHTS = ALL_MINILM_L6_V2.name


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Use the SDK with nothing but another address; one multimodal service is served."""
    service = EmbeddingService(
        {WEIGHTS: HashingEngine()},
        ServingSettings(),
        weighers={WEIGHTS: CountingWeigher()},
        served_by={**SERVED_BY, ModelName("ops-m2-encoder"): WEIGHTS},
    )
    with served_app(create_app(service, ApisSettings(), Readiness)) as address:
        endpoint = address.removeprefix("http://")
        yield Client(Config(bearer_token="OS-any", endpoint=endpoint, protocol="http"))


def test_texts_are_embedded(client: Client) -> None:
    """Vectors, usage and time are read by the SDK's own classes."""
    request = models.GetTextEmbeddingRequest(input=["a b", "c"], input_type="query")
    body = client.get_text_embedding("default", "ops-text-embedding-001", request).body
    assert [item.index for item in body.result.embeddings] == [0, 1]
    assert {len(item.embedding) for item in body.result.embeddings} == {1536}
    assert body.usage.token_count == 3
    assert body.latency is not None
    assert body.request_id


def test_terms_are_weighed(client: Client) -> None:
    """Terms have their ids, weights and texts."""
    request = models.GetTextSparseEmbeddingRequest(
        input=["a"], input_type="document", return_token=True
    )
    service_id = "ops-text-sparse-embedding-001"
    body = client.get_text_sparse_embedding("default", service_id, request).body
    (item,) = body.result.sparse_embeddings
    (term,) = item.embedding
    assert (term.token, term.weight) == (f"#{term.token_id}", 1.0)


def test_contents_are_embedded(client: Client) -> None:
    """A text among contents has a vector of the service's dimension."""
    request = models.GetMultiModalEmbeddingRequest(
        input=[models.GetMultiModalEmbeddingRequestInput(text="a")]
    )
    body = client.get_multi_modal_embedding("default", "ops-m2-encoder", request).body
    (item,) = body.result.embeddings
    assert len(item.embedding) == MODELS[ModelName("ops-m2-encoder")].default_dimension
    assert (body.usage.image, body.usage.token_count) == (0, 1)


@pytest.mark.parametrize(
    ("service_id", "texts", "status", "code"),
    [
        ("no-such", ["a"], 400, "ServiceIdNotExist"),
        ("ops-text-embedding-001", ["a", ""], 400, "InvalidParameter"),
    ],
)
def test_refusal_has_its_code(
    client: Client, service_id: str, texts: list[str], status: int, code: str
) -> None:
    """The SDK raises with the status, the code and the message of the server."""
    request = models.GetTextEmbeddingRequest(input=texts)
    with pytest.raises(Exception, match=code) as refusal:  # the SDK has no class of its own
        client.get_text_embedding("default", service_id, request)
    assert getattr(refusal.value, "statusCode", status) == status
