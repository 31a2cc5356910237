"""langchain-openai with its default settings, which send token ids of cl100k in place of text."""

from __future__ import annotations

import asyncio

import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings

CLIENT = "langchain-openai"


def model(http_url: str, **more: object) -> OpenAIEmbeddings:
    """Point the client at the server; all else is as it comes."""
    more = {"model": "text-embedding-v4", **more}
    return OpenAIEmbeddings(base_url=f"{http_url}/compatible-mode/v1", api_key="any", **more)


def test_texts_are_embedded_from_token_ids(http_url: str, texts: list[str]) -> None:
    """Embeds one text and several, by default as token ids: the vectors are those of the texts."""
    by_ids = model(http_url)
    by_text = model(http_url, check_embedding_ctx_length=False)
    several = by_ids.embed_documents([*texts, "机器学习是实现人工智能的一种方法。"])
    assert np.array(several).shape == (5, 1024)
    np.testing.assert_allclose(several[:4], by_text.embed_documents(texts), atol=1e-5)
    np.testing.assert_allclose(by_ids.embed_query(texts[0]), several[0], atol=1e-5)


def test_long_text_is_embedded_in_parts(http_url: str) -> None:
    """Embeds a text of more tokens than the client sends at once."""
    (vector,) = model(http_url, embedding_ctx_length=100).embed_documents(["word and word " * 200])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_query_finds_its_document(http_url: str, texts: list[str]) -> None:
    """Embeds documents and a query: the nearest document answers it."""
    client = model(http_url)
    scores = np.array(client.embed_documents(texts)) @ client.embed_query("space travel")
    assert scores.argmax() == 3


def test_asynchronous_calls_do_the_same(http_url: str, texts: list[str]) -> None:
    """Embeds on an event loop."""
    found = asyncio.run(model(http_url).aembed_documents(texts))
    np.testing.assert_allclose(found, model(http_url).embed_documents(texts), atol=1e-5)


def test_dimensions_are_honoured(http_url: str) -> None:
    """Asks for 256 dimensions."""
    assert len(model(http_url, dimensions=256).embed_query("one text")) == 256


def test_refusal_is_the_clients_own_exception(http_url: str) -> None:
    """Asks for a model that there is not: `openai.NotFoundError`, with code and request id."""
    with pytest.raises(openai.NotFoundError) as refusal:
        model(http_url, model="no-such", tiktoken_model_name="text-embedding-3-small").embed_query(
            "one text"
        )
    assert refusal.value.code == "model_not_found"
    assert refusal.value.request_id
