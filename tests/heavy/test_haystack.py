"""Haystack's OpenAI embedders."""

from __future__ import annotations

import numpy as np
import openai
import pytest
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret

CLIENT = "haystack-ai"


def settings(http_url: str, model: str = "text-embedding-v4") -> dict[str, object]:
    """Return what points an embedder at the server."""
    key = Secret.from_token("any")
    return {"api_base_url": f"{http_url}/v1", "api_key": key, "model": model, "max_retries": 0}


def numbered(texts: list[str]) -> list[Document]:
    """Make documents that differ: Haystack embeds equal ones once."""
    return [Document(content=f"{i} {text}") for i, text in enumerate(texts)]


def test_texts_are_embedded(http_url: str, texts: list[str]) -> None:
    """Embeds one text, and 40 documents, which it sends by 32."""
    one = OpenAITextEmbedder(**settings(http_url)).run(text=f"0 {texts[0]}")["embedding"]
    embedder = OpenAIDocumentEmbedder(**settings(http_url), progress_bar=False)
    answer = embedder.run(documents=numbered(texts * 10))
    several = np.array([document.embedding for document in answer["documents"]])
    assert several.shape == (40, 1024)
    np.testing.assert_allclose(one, several[0], atol=1e-5)
    assert answer["meta"]["usage"]["total_tokens"] > 200


def test_query_finds_its_document(http_url: str, texts: list[str]) -> None:
    """Embeds documents and a query: the nearest document answers it."""
    embedder = OpenAIDocumentEmbedder(**settings(http_url), progress_bar=False)
    answer = embedder.run(documents=[Document(content=text) for text in texts])
    documents = np.array([document.embedding for document in answer["documents"]])
    query = OpenAITextEmbedder(**settings(http_url)).run(text="space travel")["embedding"]
    assert (documents @ query).argmax() == 3


def test_dimensions_are_honoured(http_url: str) -> None:
    """Asks for 256 dimensions."""
    embedder = OpenAITextEmbedder(**settings(http_url), dimensions=256)
    assert len(embedder.run(text="one text")["embedding"]) == 256


def test_refusal_is_the_clients_own_exception(http_url: str) -> None:
    """Asks for a model that there is not: `openai.NotFoundError`."""
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        OpenAITextEmbedder(**settings(http_url, "no-such")).run(text="one text")
