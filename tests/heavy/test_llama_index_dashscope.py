"""llama-index's DashScope embeddings, over the native dialect."""

from __future__ import annotations

import dashscope
import numpy as np
import pytest
from llama_index.embeddings.dashscope import DashScopeEmbedding

CLIENT = "llama-index-embeddings-dashscope"


@pytest.fixture(autouse=True)
def address(http_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the dashscope package, which this client calls, at the server."""
    monkeypatch.setattr(dashscope, "base_http_api_url", f"{http_url}/api/v1")


def client(**more: object) -> DashScopeEmbedding:
    """Make a client of the newest model."""
    return DashScopeEmbedding(**{"model_name": "text-embedding-v4", "api_key": "any"} | more)


def test_texts_are_embedded(texts: list[str]) -> None:
    """Embeds one text and several."""
    several = client().get_text_embedding_batch(texts)
    assert np.array(several).shape == (4, 1024)
    np.testing.assert_allclose(client().get_text_embedding(texts[0]), several[0], atol=1e-5)


def test_query_finds_its_document(texts: list[str]) -> None:
    """Embeds documents and a query, whose type it sends where others do not look."""
    documents = np.array(client().get_text_embedding_batch(texts))
    scores = documents @ client(text_type="query").get_query_embedding("space travel")
    assert scores.argmax() == 3


def test_refusal_is_in_the_clients_log(caplog: pytest.LogCaptureFixture) -> None:
    """Asks for a model that there is not: the client logs code and message, and returns nothing."""
    assert not client(model_name="no-such").get_text_embedding("one text")
    assert "InvalidParameter" in caplog.text
    assert "Model not exist" in caplog.text
