"""The use case: what is asked is checked, embedded once, and given back in order."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from milvane.domain.callers import Caller
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS
from milvane.domain.errors import (
    DeadlineExceeded,
    InputTooLong,
    ModelNotServed,
    OutputNotOffered,
    UpstreamUnavailable,
)
from milvane.domain.models import DENSE_ONLY, SPARSE_ONLY, Output, Purpose
from milvane.serving.caching.cache import VectorCache
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.callers import calling
from milvane.serving.embedding import WEIGHED_AT_ONCE, EmbeddingService, EmbedRequest
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine

WEIGHTS = ALL_MINILM_L6_V2.name
MODEL = "text-embedding-v4"
BOTH = DENSE_ONLY | SPARSE_ONLY


class CountedEngine(HashingEngine):
    """Counts tokenized texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenized_texts = 0

    async def tokenize(self, texts, **how):
        """Tokenize and count."""
        self.tokenized_texts += len(texts)
        return await super().tokenize(texts, **how)


class StuckEngine(HashingEngine):
    """Embeds when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def embed(self, token_ids, **how):
        """Say so, wait, and embed."""
        self.is_asked.set()
        await self.may_go_on.wait()
        return await super().embed(token_ids, **how)


def service_of(engine: HashingEngine, **settings: bool) -> EmbeddingService:
    """Put the use case in front of an engine."""
    return EmbeddingService(
        {WEIGHTS: engine}, ServingSettings(**settings), weighers={WEIGHTS: CountingWeigher()}
    )


async def test_both_kinds_of_vectors_come_from_one_tokenisation() -> None:
    """Each distinct text is tokenized and embedded once, whatever is made of it."""
    engine = CountedEngine()
    texts = ["a b a", "c", "a b a"]
    embedded = await service_of(engine).embed(EmbedRequest(MODEL, texts, outputs=BOTH))
    assert (engine.tokenized_texts, engine.embedded_texts) == (2, 2)
    assert embedded.vectors.shape == (3, 1024)
    assert [vector.values.tolist() for vector in embedded.sparse] == [
        embedded.sparse[2].values.tolist(),
        [1.0],
        embedded.sparse[0].values.tolist(),
    ]
    assert embedded.sparse[0].values.sum() == 3
    assert embedded.total_tokens == 7


@pytest.mark.parametrize("dimension", [64, 100, 1024, 2048])
async def test_known_text_costs_nothing_in_any_dimension(dimension: int) -> None:
    """A kept vector gives what the engine gives, whatever dimension it was kept for."""
    engine, plain = HashingEngine(), HashingEngine()
    cache = VectorCache(CacheSettings())
    service = EmbeddingService({WEIGHTS: engine}, ServingSettings(), cache=cache)
    texts = ["a b", "c", "a b"]
    first = await service.embed(EmbedRequest(MODEL, texts, dimension=512))
    again = await service.embed(EmbedRequest(MODEL, [*texts, "d"], dimension=dimension))
    expected = await service_of(plain).embed(
        EmbedRequest(MODEL, [*texts, "d"], dimension=dimension)
    )
    np.testing.assert_allclose(again.vectors, expected.vectors, atol=1e-6)
    assert engine.embedded_texts == 3
    assert (first.cached_tokens, again.cached_tokens, again.total_tokens) == (0, 5, 6)


async def test_weights_can_be_left_out_of_the_cache() -> None:
    """Of weights that the operator names, nothing is kept."""
    engine = HashingEngine()
    service = EmbeddingService(
        {WEIGHTS: engine},
        ServingSettings(),
        cache=VectorCache(CacheSettings()),
        cache_off_for=[WEIGHTS],
    )
    for _ in range(2):
        assert (await service.embed(EmbedRequest(MODEL, ["a"]))).cached_tokens == 0
    assert engine.embedded_texts == 2


async def test_sparse_vectors_alone_need_no_forward_pass() -> None:
    """Without dense vectors nothing is embedded, and vectors have no width."""
    engine = HashingEngine()
    embedded = await service_of(engine).embed(EmbedRequest(MODEL, ["a"], outputs=SPARSE_ONLY))
    assert engine.calls == []
    assert embedded.vectors.shape == (1, 0)
    assert len(embedded.sparse) == 1


async def test_dense_vectors_alone_have_no_terms() -> None:
    """Nobody pays for what was not asked for."""
    embedded = await service_of(HashingEngine()).embed(EmbedRequest(MODEL, ["a"]))
    assert (list(embedded.sparse), embedded.terms) == ([], None)


async def test_purpose_reaches_the_terms() -> None:
    """A query's terms are weighed as a query's."""
    service = service_of(HashingEngine())
    sums = [
        (await service.embed(EmbedRequest(MODEL, ["a b"], purpose=purpose, outputs=SPARSE_ONLY)))
        .sparse[0]
        .values.sum()
        for purpose in (Purpose.DOCUMENT, Purpose.QUERY)
    ]
    assert sums == [2, 4]


async def test_purpose_and_instruction_reach_the_tokens() -> None:
    """A model that is told in words what a text is for is told what the request says."""
    engine = HashingEngine(is_told=True)
    requests = [
        EmbedRequest(MODEL, ["a"], purpose=Purpose.QUERY),
        EmbedRequest(MODEL, ["a"]),
        EmbedRequest(MODEL, ["a"], purpose=Purpose.QUERY, instruction="find"),
        EmbedRequest(MODEL, ["a"], purpose=Purpose.QUERY, instruction="sort"),
    ]
    prepared = [await service_of(engine).prepare(request) for request in requests]
    assert len({bytes(each.token_ids[0]) for each in prepared}) == len(requests)


@pytest.mark.parametrize(
    ("is_told", "instruction"), [(True, "find"), (False, "find"), (False, None)]
)
async def test_ignored_instruction_is_told(is_told: bool, instruction: str | None) -> None:
    """Who gives an instruction that changes nothing learns that it did not."""
    service = service_of(HashingEngine(is_told=is_told))
    embedded = await service.embed(EmbedRequest(MODEL, ["a"], instruction=instruction))
    assert embedded.ignored_instruction == (instruction is not None and not is_told)


async def test_many_texts_keep_their_order() -> None:
    """The terms of each text are its own, beyond any chunk of the work."""
    texts = [f"t{number}" for number in range(WEIGHED_AT_ONCE + 3)]
    service = service_of(HashingEngine())
    embedded = await service.embed(EmbedRequest(MODEL, texts, outputs=SPARSE_ONLY))
    alone = await service.embed(EmbedRequest(MODEL, texts[-1:], outputs=SPARSE_ONLY))
    np.testing.assert_array_equal(embedded.sparse[-1].indexes, alone.sparse[0].indexes)


async def test_a_cut_holds_for_both_kinds_and_is_reported() -> None:
    """A request may ask for a cut that the operator did not set, or forbid the one that he did."""
    long = " ".join("x" * 2049)
    asked = EmbedRequest("text-embedding-v2", ["a", long], cut_long_inputs=True)
    embedded = await service_of(HashingEngine()).embed(asked)
    assert (embedded.cut_inputs, embedded.token_counts) == ([1], [1, 2048])
    forbidden = EmbedRequest("text-embedding-v2", ["a", long], cut_long_inputs=False)
    with pytest.raises(InputTooLong) as refusal:
        await service_of(HashingEngine(), cut_long_inputs=True).embed(forbidden)
    assert refusal.value.index == 1


@pytest.mark.parametrize(
    ("model", "outputs"),
    [("text-embedding-v2", SPARSE_ONLY), ("ops-text-sparse-embedding-001", DENSE_ONLY)],
)
async def test_output_that_a_model_does_not_have_is_refused(
    model: str, outputs: frozenset[Output]
) -> None:
    """The refusal names what the model has."""
    with pytest.raises(OutputNotOffered, match="it offers"):
        await service_of(HashingEngine()).embed(EmbedRequest(model, ["a"], outputs=outputs))


async def test_terms_without_a_vocabulary_are_unavailable() -> None:
    """Weights whose vocabulary is not loaded still give dense vectors."""
    service = EmbeddingService({WEIGHTS: HashingEngine()}, ServingSettings())
    assert (await service.embed(EmbedRequest(MODEL, ["a"]))).vectors.shape == (1, 1024)
    with pytest.raises(UpstreamUnavailable, match="vocabulary"):
        await service.embed(EmbedRequest(MODEL, ["a"], outputs=BOTH))


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
async def test_model_is_served_or_says_what_is_missing(model) -> None:
    """Every model of the catalogue either works or says why not."""
    service, asked = (
        service_of(HashingEngine()),
        EmbedRequest(model.name, ["a"], outputs=model.outputs),
    )
    if model.is_text_only:
        embedded = await service.embed(asked)
        assert embedded.vectors.shape == (1, model.default_dimension)
        return
    with pytest.raises(ModelNotServed, match="no weights here serve it"):
        await service.embed(asked)


@pytest.mark.parametrize("cache", [None, VectorCache(CacheSettings())])
async def test_tenant_and_deadline_reach_the_engine(cache: VectorCache | None) -> None:
    """The queue knows whose work it is; without time, nothing is computed."""
    engine = HashingEngine()
    service = EmbeddingService({WEIGHTS: engine}, ServingSettings(), cache=cache)
    with calling(Caller(name="x", tenant="t")):
        await service.embed(EmbedRequest(MODEL, ["a"]), time_left_s=60.0)
        with pytest.raises(DeadlineExceeded):
            await service.embed(EmbedRequest(MODEL, ["b"]), time_left_s=0.0)
    assert (engine.tenants, engine.embedded_texts) == (["t"], 1)


async def test_deadline_holds_while_another_request_computes() -> None:
    """Who waits for a vector that another request computes waits no longer than its deadline."""
    cache = VectorCache(CacheSettings())
    engine = StuckEngine()
    service = EmbeddingService({WEIGHTS: engine}, ServingSettings(), cache=cache)
    stuck = asyncio.ensure_future(service.embed(EmbedRequest(MODEL, ["a"])))
    await engine.is_asked.wait()
    with pytest.raises(DeadlineExceeded):
        await service.embed(EmbedRequest(MODEL, ["a"]), time_left_s=0.01)
    engine.may_go_on.set()
    assert (await stuck).vectors.shape == (1, 1024)
