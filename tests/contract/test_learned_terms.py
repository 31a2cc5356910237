"""Weights with a learned sparse head make both kinds of vectors in one pass."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from families import QUERIES, TEXTS, WRITERS
from milvane.domain.callers import Caller
from milvane.domain.errors import DeadlineExceeded
from milvane.domain.models import DENSE_ONLY, SPARSE_ONLY, Lane, ModelName, Output, Purpose
from milvane.inference.engine import Engine, open_engine
from milvane.inference.installed import find_set
from milvane.inference.settings import InferenceSettings
from milvane.inference.vocabulary import read_lexicon
from milvane.serving.caching.cache import VectorCache, open_cache
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.callers import calling
from milvane.serving.embedding import Embedded, EmbeddingService, EmbedRequest
from milvane.serving.settings import ServingSettings

REFERENCE = Path(__file__).parent.parent / "reference" / "families.npz"
SPECIAL = {0, 1, 2, 3}
"""`<s>`, `<pad>`, `</s>` and `<unk>`."""
SETTINGS = InferenceSettings(precision="f32", threads=1)
V4 = ModelName("text-embedding-v4")
BOTH = DENSE_ONLY | SPARSE_ONLY
LONG_TEXTS = [" ".join([text] * 400) for text in QUERIES]
"""Worth the disk, also for a network as narrow as these."""


def expected_terms(family: str, index: int) -> dict[int, float]:
    """Weigh a text's terms as FlagEmbedding does, from the reference's weights of its tokens."""
    terms: dict[int, float] = defaultdict(float)
    with np.load(REFERENCE) as stored:
        tokens = stored[f"{family}/tokens{index}"]
        weights = stored[f"{family}/weights{index}"]
    for token, weight in zip(tokens.tolist(), weights.tolist(), strict=True):
        if token not in SPECIAL and weight > 0:
            terms[token] = max(terms[token], weight)
    return terms


@pytest.mark.parametrize("family", ["bge-m3", "gte"])
async def test_service_gives_the_terms_of_the_reference(family: str, tmp_path: Path) -> None:
    """Terms and weights are the reference's, in one pass for both kinds of vectors."""
    folder = tmp_path / family
    WRITERS[family](folder)
    weights = find_set(str(folder), tmp_path)
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        assert engine.weighs_terms
        service = EmbeddingService(
            {weights.name: engine},
            ServingSettings(),
            weighers={weights.name: read_lexicon(weights, tmp_path)},
            term_engines={weights.name: engine},
            served_by={V4: weights.name},
        )
        both = frozenset({Output.DENSE, Output.SPARSE})
        asked = EmbedRequest(model=V4, texts=[*TEXTS, TEXTS[0]], dimension=64, outputs=both)
        embedded = await service.embed(asked)
        passes_inputs = engine.counts.inputs
        alone = await service.embed(
            EmbedRequest(model=V4, texts=TEXTS, outputs=frozenset({Output.SPARSE}))
        )
        ids = await engine.tokenize(TEXTS, purpose=Purpose.DOCUMENT)
        dense = await engine.embed(ids, dimension=64, lane=Lane.BULK)
    assert passes_inputs == len(TEXTS)
    np.testing.assert_allclose(embedded.vectors[:-1], dense, atol=1e-6)
    assert alone.vectors.shape == (len(TEXTS), 0)
    for index in range(len(TEXTS)):
        expected = expected_terms(family, index)
        for vector in (embedded.sparse[index], alone.sparse[index]):
            found = dict(zip(vector.indexes.tolist(), vector.values.tolist(), strict=True))
            assert found == pytest.approx(expected, abs=1e-3, rel=1e-3)
    assert any(expected_terms(family, index) for index in range(len(TEXTS)))
    assert embedded.terms is not None
    texts = embedded.terms.token_texts(embedded.sparse[0].indexes)
    assert set(texts) <= {"▁the", "▁cat", "▁sat", "▁on", "▁mat"}


async def test_words_of_a_prompt_are_no_terms(tmp_path: Path) -> None:
    """Weights that are told in words what a query is for count the query's own terms only."""
    folder = tmp_path / "qwen3"
    WRITERS["qwen3"](folder)
    weights = find_set(str(folder), tmp_path)
    async with open_engine(weights, tmp_path, SETTINGS) as engine:
        lexicon = read_lexicon(weights, tmp_path)
        service = EmbeddingService(
            {weights.name: engine},
            ServingSettings(),
            weighers={weights.name: lexicon},
            served_by={V4: weights.name},
        )
        asked = EmbedRequest(
            model=V4, texts=["the cat"], purpose=Purpose.QUERY, outputs=frozenset({Output.SPARSE})
        )
        embedded = await service.embed(asked)
    assert set(lexicon.token_texts(embedded.sparse[0].indexes)) == {"the", "Ġcat"}


@dataclass(frozen=True, slots=True)
class Served:
    """Weights with a learned head, behind a cache."""

    engine: Engine
    service: EmbeddingService

    async def ask(self, texts: list[str], outputs: frozenset[Output] = BOTH) -> Embedded:
        """Embed texts in the bulk lane."""
        return await self.service.embed(EmbedRequest(V4, texts, dimension=64, outputs=outputs))


@asynccontextmanager
async def served(folder: Path, cache: VectorCache | None) -> AsyncIterator[Served]:
    """Serve a tiny BGE-M3, the same one in every folder."""
    WRITERS["bge-m3"](folder)
    weights = find_set(str(folder), folder.parent)
    async with open_engine(weights, folder.parent, SETTINGS) as engine:
        service = EmbeddingService(
            {weights.name: engine},
            ServingSettings(cut_long_inputs=True),
            weighers={weights.name: read_lexicon(weights, folder.parent)},
            term_engines={weights.name: engine},
            served_by={V4: weights.name},
            cache=cache,
        )
        yield Served(engine, service)


def assert_same(one: Embedded, other: Embedded) -> None:
    """Compare both kinds of vectors."""
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    assert len(one.sparse) == len(other.sparse)
    for some, others in zip(one.sparse, other.sparse, strict=True):
        np.testing.assert_array_equal(some.indexes, others.indexes)
        np.testing.assert_allclose(some.values, others.values, atol=1e-5)


async def test_known_text_costs_neither_kind_of_vectors(tmp_path: Path) -> None:
    """What was computed for both kinds serves both, either, and other dimensions of the same."""
    async with served(tmp_path / "net", None) as plain:
        expected = await plain.ask(TEXTS)
    async with served(tmp_path / "net", VectorCache(CacheSettings())) as subject:
        first = await subject.ask(TEXTS)
        computed = subject.engine.counts.inputs
        again = await subject.ask(TEXTS)
        alone = await subject.ask(TEXTS, SPARSE_ONLY)
        wide = await subject.service.embed(EmbedRequest(V4, TEXTS, dimension=128, outputs=BOTH))
        assert subject.engine.counts.inputs == computed == len(TEXTS)
    assert_same(first, expected)
    assert_same(again, expected)
    assert [each.indexes.tolist() for each in alone.sparse] == [
        each.indexes.tolist() for each in expected.sparse
    ]
    assert alone.vectors.shape == (len(TEXTS), 0)
    np.testing.assert_allclose(wide.vectors[:, :64], expected.vectors, atol=1e-5)
    tokens = first.total_tokens
    assert [each.cached_tokens for each in (first, again, alone, wide)] == [0, *[tokens] * 3]


async def test_terms_asked_for_at_the_same_time_are_computed_once(tmp_path: Path) -> None:
    """Of requests that overlap, each text is computed by one, also where nothing is kept."""
    nothing = VectorCache(CacheSettings(max_memory_bytes=0))
    async with served(tmp_path / "net", nothing) as subject:
        asked = [EmbedRequest(V4, texts, outputs=BOTH) for texts in (TEXTS, TEXTS[1:])]
        prepared = [await subject.service.prepare(each) for each in asked]
        answers = await asyncio.gather(*map(subject.service.compute, prepared))
        assert subject.engine.counts.inputs == len(TEXTS)
        assert answers[1].cached_tokens == answers[1].total_tokens
        for row in range(1, len(TEXTS)):
            first, second = answers[0].sparse[row], answers[1].sparse[row - 1]
            assert first.indexes.tolist() == second.indexes.tolist()


async def test_tenant_learns_nothing_from_terms_of_others(tmp_path: Path) -> None:
    """What one tenant had computed is computed again for another one."""
    async with served(tmp_path / "net", VectorCache(CacheSettings())) as subject:
        for tenant in ("a", "b"):
            with calling(Caller(name="x", tenant=tenant)):
                assert (await subject.ask(TEXTS)).cached_tokens == 0
        assert subject.engine.counts.inputs == 2 * len(TEXTS)


async def test_terms_outlive_the_process_beside_dense_vectors(tmp_path: Path) -> None:
    """On one disk, neither kind of entry of the same texts is ever taken for the other."""
    async with served(tmp_path / "net", None) as plain:
        expected = await plain.ask(LONG_TEXTS)
    kept = []
    for _ in range(2):
        async with (
            open_cache(CacheSettings(max_memory_bytes=0), tmp_path) as cache,
            served(tmp_path / "net", cache) as subject,
        ):
            assert cache is not None
            assert cache.disk is not None
            await cache.disk.settled()
            dense = await subject.ask(LONG_TEXTS, DENSE_ONLY)
            both = await subject.ask(LONG_TEXTS)
            np.testing.assert_allclose(dense.vectors, expected.vectors, atol=1e-5)
            assert_same(both, expected)
            kept.append([dense.cached_tokens, both.cached_tokens])
    assert kept == [[0, 0], [expected.total_tokens] * 2]


async def test_terms_that_are_waited_for_keep_the_deadline(tmp_path: Path) -> None:
    """Who has no time left is refused, and nothing is kept of it."""
    async with served(tmp_path / "net", VectorCache(CacheSettings())) as subject:
        asked = EmbedRequest(V4, TEXTS, outputs=BOTH)
        with pytest.raises(DeadlineExceeded):
            await subject.service.embed(asked, time_left_s=0)
        assert (await subject.service.embed(asked)).cached_tokens == 0
