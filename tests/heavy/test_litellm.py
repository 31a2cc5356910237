"""litellm, as a client of OpenAI's dialect and of DashScope's compatible mode."""

from __future__ import annotations

import asyncio

import litellm
import numpy as np
import pytest

CLIENT = "litellm"


def embed(http_url: str, model: str, **more: object) -> litellm.EmbeddingResponse:
    """Embed with the server's address as `api_base`."""
    return litellm.embedding(
        model=model, api_base=f"{http_url}/compatible-mode/v1", api_key="any", **more
    )


def vectors(answer: litellm.EmbeddingResponse) -> np.ndarray:
    """Read the vectors of an answer, in its order."""
    return np.array([item["embedding"] for item in answer.data])


@pytest.mark.parametrize("model", ["dashscope/text-embedding-v4", "openai/text-embedding-v4"])
def test_texts_are_embedded(http_url: str, model: str, texts: list[str]) -> None:
    """Embeds one text and several, under both names of the dialect."""
    several = embed(http_url, model, input=texts)
    assert vectors(several).shape == (4, 1024)
    assert several.usage.total_tokens > 4
    one = embed(http_url, model, input=[texts[0]])
    np.testing.assert_allclose(vectors(one)[0], vectors(several)[0], atol=1e-5)


def test_query_finds_its_document(http_url: str, texts: list[str]) -> None:
    """Embeds documents and a query: the nearest document answers it."""
    found = vectors(embed(http_url, "dashscope/text-embedding-v4", input=[*texts, "space travel"]))
    assert (found[:4] @ found[4]).argmax() == 3


def test_dimensions_are_honoured(http_url: str) -> None:
    """Asks for 256 dimensions."""
    answer = embed(http_url, "dashscope/text-embedding-v4", input=["one text"], dimensions=256)
    assert vectors(answer).shape == (1, 256)


def test_asynchronous_calls_do_the_same(http_url: str, texts: list[str]) -> None:
    """Embeds on an event loop."""
    answer = asyncio.run(
        litellm.aembedding(
            model="dashscope/text-embedding-v4",
            api_base=f"{http_url}/compatible-mode/v1",
            api_key="any",
            input=texts,
        )
    )
    assert vectors(answer).shape == (4, 1024)


def test_refusal_is_the_clients_own_exception(http_url: str) -> None:
    """Asks for a model that there is not: `litellm.NotFoundError` with the server's words."""
    with pytest.raises(litellm.NotFoundError, match="does not exist"):
        embed(http_url, "openai/no-such", input=["one text"])
