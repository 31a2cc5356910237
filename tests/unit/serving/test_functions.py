"""Texts of embedding functions, embedded here or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.errors import InvalidInput, ProviderRefused
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, VectorField
from milvane.serving.embedding import EmbeddingService, EmbedRequest
from milvane.serving.functions import NoProviders, compute_all, prepare_remote
from milvane.serving.ports import FieldVectors
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

REMOTE = ProviderFunction("tei", {}, VectorField("dense", 1))


@dataclass
class Elsewhere:
    """A provider whose vector of a text is its length; it may refuse, or wait for good."""

    names: Sequence[str] = ("tei",)
    calls: list[list[str]] = field(default_factory=list)
    cancelled: bool = False

    def check(self, function: ProviderFunction) -> None:
        """Find nothing wrong."""

    async def embed(
        self,
        function: ProviderFunction,
        texts: Sequence[str],
        *,
        purpose: Purpose,
        time_left_s: float | None = None,
    ) -> FieldVectors:
        """Measure the texts."""
        self.calls.append(list(texts))
        if "refuse" in texts:
            raise ProviderRefused("no")
        if "wait" in texts:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True
        return np.array([[len(text)] for text in texts], np.float32)


@pytest.fixture
def here() -> EmbeddingService:
    """Embed by hashing."""
    return EmbeddingService({ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings())


async def test_functions_of_a_request_keep_their_order(here: EmbeddingService) -> None:
    """Each gets its own vectors; equal texts are asked for once."""
    elsewhere = Elsewhere()
    local = await here.prepare(EmbedRequest(model="text-embedding-v4", texts=["a", "b"]))
    remote = prepare_remote(REMOTE, ["abc", "a", "abc"], Purpose.DOCUMENT)
    first, second, third = await compute_all(here, elsewhere, [remote, local, remote])
    assert first.vectors.tolist() == third.vectors.tolist() == [[3], [1], [3]]
    assert second.vectors.shape == (2, 1024)
    assert elsewhere.calls == [["abc", "a"]] * 2


async def test_failure_of_one_function_ends_the_others(here: EmbeddingService) -> None:
    """Nothing is computed for a request that is refused anyway."""
    elsewhere = Elsewhere()
    texts = [prepare_remote(REMOTE, [text], Purpose.QUERY) for text in ("wait", "refuse")]
    with pytest.raises(ProviderRefused):
        await compute_all(here, elsewhere, texts)
    assert elsewhere.cancelled


async def test_server_without_providers_calls_nobody() -> None:
    """A function that names one all the same is refused."""
    with pytest.raises(InvalidInput, match="tei is not called from here"):
        await NoProviders().embed(REMOTE, ["a"], purpose=Purpose.QUERY)
    with pytest.raises(InvalidInput, match="tei is not called from here"):
        NoProviders().check(REMOTE)
