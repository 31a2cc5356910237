"""The unmodified SDK of the AI Search Open Platform on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from alibabacloud_searchplat20240529 import models
from alibabacloud_searchplat20240529.client import Client
from alibabacloud_tea_openapi.models import Config

from colours import ColourEngine, DataReader, an_image, colour_service, data_uri
from loopback import served_app
from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import MODELS
from milvane.domain.models import ModelName
from milvane.domain.readiness import Readiness


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Use the SDK with nothing but another address; all services are served."""
    service = colour_service(ColourEngine(), DataReader())
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


@pytest.mark.parametrize("service_id", ["ops-m2-encoder", "ops-gme-qwen2-vl-2b-instruct"])
def test_contents_are_embedded(client: Client, service_id: str) -> None:
    """Texts, images and both together have vectors of the service's dimension, and a usage."""
    kind, image = models.GetMultiModalEmbeddingRequestInput, data_uri(an_image("blue"))
    request = models.GetMultiModalEmbeddingRequest(
        input=[kind(text="blue"), kind(image=image), kind(text="yellow", image=image)]
    )
    body = client.get_multi_modal_embedding("default", service_id, request).body
    model = MODELS[ModelName(service_id)]
    rows = np.array([item.embedding for item in body.result.embeddings])
    assert rows.shape == (3, model.default_dimension)
    assert rows[0] @ rows[1] > 0.999
    assert (rows[1] @ rows[2] > 0.5) == model.fuses
    assert body.usage.image == (2 if model.fuses else 1)
    assert body.usage.token_count == body.usage.text_token + body.usage.image_token
    assert body.usage.text_token == 2


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
