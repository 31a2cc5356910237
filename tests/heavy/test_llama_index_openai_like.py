"""llama-index's embeddings of servers that speak as OpenAI does."""

from __future__ import annotations

import asyncio

import numpy as np
import openai
import pytest
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

CLIENT = "llama-index-embeddings-openai-like"


def client(http_url: str, **more: object) -> OpenAILikeEmbedding:
    """Point the client at the server."""
    settings = {"model_name": "text-embedding-v4", "api_key": "any", "max_retries": 0} | more
    return OpenAILikeEmbedding(api_base=f"{http_url}/v1", **settings)


def test_texts_are_embedded(http_url: str, texts: list[str]) -> None:
    """Embeds one text and several, more than it sends at once."""
    several = client(http_url).get_text_embedding_batch(texts * 4)
    assert np.array(several).shape == (16, 1024)
    one = client(http_url).get_text_embedding(texts[0])
    np.testing.assert_allclose(one, several[0], atol=1e-5)


def test_query_finds_its_document(http_url: str, texts: list[str]) -> None:
    """Embeds documents and a query: the nearest document answers it."""
    documents = np.array(client(http_url).get_text_embedding_batch(texts))
    assert (documents @ client(http_url).get_query_embedding("space travel")).argmax() == 3


def test_asynchronous_calls_do_the_same(http_url: str, texts: list[str]) -> None:
    """Embeds on an event loop."""
    found = asyncio.run(client(http_url).aget_text_embedding_batch(texts))
    expected = client(http_url).get_text_embedding_batch(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_dimensions_are_honoured(http_url: str) -> None:
    """Asks for 256 dimensions."""
    assert len(client(http_url, dimensions=256).get_text_embedding("one text")) == 256


def test_refusal_is_the_clients_own_exception(http_url: str) -> None:
    """Asks for a model that there is not: `openai.NotFoundError`."""
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client(http_url, model_name="no-such").get_text_embedding("one text")
