"""Texts of embedding functions, embedded here or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.errors import (
    DeadlineExceeded,
    InvalidInput,
    ProviderRefused,
    ProviderUnavailable,
)
from milvane.domain.models import SPARSE_ONLY, Output, Purpose
from milvane.domain.providers import ProviderFunction, Spending, VectorField
from milvane.serving.embedding import EmbeddingService, EmbedRequest
from milvane.serving.functions import (
    LocalPrepared,
    NoProviders,
    compute_all,
    join_failures,
    join_requests,
    prepare_remote,
)
from milvane.serving.ports import FieldVectors
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine

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
        is_fresh: bool = False,
        spending: Spending | None = None,
    ) -> FieldVectors:
        """Measure the texts."""
        self.calls.append(list(texts))
        if spending is not None:
            spending.tokens += 2 * len(texts)
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
    request = EmbedRequest(model="text-embedding-v4", texts=["a", "b"])
    local = LocalPrepared(await here.prepare(request))
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


async def test_deadline_reaches_the_engine(here: EmbeddingService) -> None:
    """Nothing is embedded here for a caller whose time is over."""
    local = LocalPrepared(await here.prepare(dense("a")))
    with pytest.raises(DeadlineExceeded):
        await compute_all(here, Elsewhere(), [local], time_left_s=0.0)
    (embedded,) = await compute_all(here, Elsewhere(), [local], time_left_s=60.0)
    assert embedded.vectors.shape == (1, 1024)


async def test_server_without_providers_calls_nobody() -> None:
    """A function that names one all the same is refused."""
    with pytest.raises(InvalidInput, match="tei is not called from here"):
        await NoProviders().embed(REMOTE, ["a"], purpose=Purpose.QUERY)
    with pytest.raises(InvalidInput, match="tei is not called from here"):
        NoProviders().check(REMOTE)


def dense(*texts: str, dimension: int | None = None) -> EmbedRequest:
    """Ask for vectors of meaning."""
    return EmbedRequest(model="text-embedding-v4", texts=texts, dimension=dimension)


def sparse(*texts: str) -> EmbedRequest:
    """Ask for weighted terms."""
    return EmbedRequest(model="text-embedding-v4", texts=texts, outputs=SPARSE_ONLY)


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ([dense("a"), sparse("a")], [[0, 1]]),
        ([sparse("a"), dense("a", dimension=64), sparse("a")], [[0, 1, 2]]),
        ([dense("a"), dense("a")], [[0, 1]]),
        ([dense("a"), dense("b"), sparse("b")], [[0], [1, 2]]),
        ([dense("a", dimension=64), dense("a", dimension=128)], [[0], [1]]),
        ([dense("a"), replace(sparse("a"), model="text-embedding-v3")], [[0], [1]]),
        ([dense("a"), replace(sparse("a"), purpose=Purpose.QUERY)], [[0], [1]]),
        ([], []),
    ],
)
def test_requests_for_the_same_texts_are_joined(
    requests: list[EmbedRequest], expected: list[list[int]]
) -> None:
    """One forward pass serves what differs in nothing but the kind of vector."""
    joined = join_requests(requests)
    assert [served for _, served in joined] == expected
    for request, served in joined:
        for position in served:
            assert requests[position].outputs <= request.outputs
            if Output.DENSE in requests[position].outputs:
                assert request.dimension == requests[position].dimension


async def test_joined_functions_share_a_forward_pass() -> None:
    """Each takes its own kind of vector of what was computed once."""
    engine = HashingEngine()
    weights = ALL_MINILM_L6_V2.name
    here = EmbeddingService(
        {weights: engine}, ServingSettings(), weighers={weights: CountingWeigher()}
    )
    ((request, _),) = join_requests([dense("a", "b"), sparse("a", "b")])
    prepared = await here.prepare(request)
    asked = [LocalPrepared(prepared), LocalPrepared(prepared, Output.SPARSE)]
    meanings, terms = await compute_all(here, NoProviders(), asked)
    assert [call.texts for call in engine.calls] == [2]
    assert meanings.vectors.shape == (2, 1024)
    assert [len(vector.indexes) for vector in terms.vectors] == [1, 1]


async def test_all_failures_may_be_told_together(here: EmbeddingService) -> None:
    """The message lists them as Milvus does, and the others are waited for."""
    elsewhere = Elsewhere()
    texts = [prepare_remote(REMOTE, [text], Purpose.DOCUMENT) for text in ("refuse", "a", "refuse")]
    with pytest.raises(ProviderRefused) as caught:
        await compute_all(here, elsewhere, texts, tell_all=True)
    assert caught.value.message == "[no no]"
    assert len(elsewhere.calls) == 3


def test_failure_that_cannot_pass_decides_for_all() -> None:
    """A client tries again only if that may help all functions; one alone is told as it is."""
    passing, lasting = ProviderUnavailable("busy"), InvalidInput("wrong")
    assert join_failures([passing]).message == "busy"
    joined = join_failures([passing, lasting])
    assert (joined.message, joined.retryable) == ("[busy wrong]", False)
