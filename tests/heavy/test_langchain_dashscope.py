"""DashScopeEmbeddings of langchain-community, over the native dialect."""

from __future__ import annotations

import dashscope
import numpy as np
import pytest
from langchain_community.embeddings import DashScopeEmbeddings

CLIENT = "langchain-community"


@pytest.fixture(autouse=True)
def address(http_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the dashscope package, which this client calls, at the server."""
    monkeypatch.setattr(dashscope, "base_http_api_url", f"{http_url}/api/v1")


def test_texts_are_embedded(texts: list[str]) -> None:
    """Embeds one text and several, more than it sends at once."""
    client = DashScopeEmbeddings(model="text-embedding-v4", dashscope_api_key="any")
    several = client.embed_documents(texts * 4)
    assert np.array(several).shape == (16, 1024)
    np.testing.assert_allclose(client.embed_query(texts[0]), several[0], atol=1e-5)


def test_query_finds_its_document(texts: list[str]) -> None:
    """Embeds documents and a query, each with its own text type."""
    client = DashScopeEmbeddings(model="text-embedding-v3", dashscope_api_key="any")
    scores = np.array(client.embed_documents(texts)) @ client.embed_query("space travel")
    assert scores.argmax() == 3


def test_refusal_is_the_clients_own_exception() -> None:
    """Asks for a model that there is not: ValueError with status, code and message."""
    client = DashScopeEmbeddings(model="no-such", dashscope_api_key="any")
    with pytest.raises(ValueError, match=r"(?s)400.*InvalidParameter.*Model not exist"):
        client.embed_query("one text")
