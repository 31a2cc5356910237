"""Instructions reach weights that follow them, through every dialect that has a word for them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from colours import ColourEngine, DataReader, colour_service
from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

OPENAI = "/v1/embeddings"
NATIVE = "/api/v1/services/embeddings/text-embedding/text-embedding"
CONTENTS = "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding"


def body_of(path: str, told: dict[str, str]) -> dict[str, Any]:
    """Ask a path for the vector of one text, as a query."""
    if path == OPENAI:
        return {"model": "text-embedding-v4", "input": "a", "text_type": "query", **told}
    if path == CONTENTS:
        asked = {"contents": [{"text": "a"}]}
        return {"model": "qwen3-vl-embedding", "input": asked, "parameters": told}
    parameters = {"text_type": "query", **told}
    return {"model": "text-embedding-v4", "input": {"texts": ["a"]}, "parameters": parameters}


async def answer(path: str, told: dict[str, str], *, is_told: bool) -> tuple[list[float], Any]:
    """Give the vector and what the server says about the request."""
    service = EmbeddingService(
        {ALL_MINILM_L6_V2.name: HashingEngine(is_told=is_told)},
        ServingSettings(),
        contents=colour_service(ColourEngine(is_told=is_told), DataReader()).contents,
    )
    transport = httpx.ASGITransport(create_app(service, ApisSettings(), Readiness))
    async with httpx.AsyncClient(transport=transport, base_url="http://milvane") as client:
        said = (await client.post(path, json=body_of(path, told))).raise_for_status().json()
    if path == OPENAI:
        return said["data"][0]["embedding"], said.get("milvane")
    return said["output"]["embeddings"][0]["embedding"], said["usage"].get("milvane")


@pytest.mark.parametrize("path", [OPENAI, NATIVE, CONTENTS])
async def test_instruction_changes_the_vector_where_it_is_followed(path: str) -> None:
    """Other words, another vector; and nothing is said to have been ignored."""
    told = [{}, {"instruct": "Find what is alike"}, {"instruct": "Sort by mood"}]
    answers = [await answer(path, each, is_told=True) for each in told]
    assert len({tuple(vector) for vector, _ in answers}) == len(told)
    assert [notice for _, notice in answers] == [None] * len(told)


@pytest.mark.parametrize("path", [OPENAI, NATIVE, CONTENTS])
async def test_instruction_that_nobody_follows_is_reported(path: str) -> None:
    """The vector is the same, and the answer says that the instruction changed nothing."""
    plain, nothing = await answer(path, {}, is_told=False)
    vector, notice = await answer(path, {"instruct": "Find"}, is_told=False)
    assert (vector, notice, nothing) == (plain, {"ignored": ["instruct"]}, None)
