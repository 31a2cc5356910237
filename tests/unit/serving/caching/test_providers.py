"""Providers behind the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, Spending, VectorField, VectorKind
from milvane.serving.caching.cache import VectorCache
from milvane.serving.caching.providers import CachedProviders
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.ports import FieldVectors


@dataclass
class Paid:
    """A provider whose vector of a text is its length, and a bill."""

    names: Sequence[str] = ("tei", "openai")
    bill: list[str] = field(default_factory=list)

    def check(self, function: ProviderFunction) -> None:
        """Find nothing wrong."""

    def source_of(self, function: ProviderFunction, purpose: Purpose) -> str:
        """Name the model and the purpose."""
        return f"{function.params.get('model_name')} {function.output} {purpose}"

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
        self.bill += texts
        if spending is not None:
            spending.tokens += len(texts)
        kind = np.int8 if function.output.kind is VectorKind.INT8 else np.float32
        return np.array([[len(text)] for text in texts], kind)


def function(
    provider: str = "tei", kind: VectorKind = VectorKind.FLOAT, **params: str
) -> ProviderFunction:
    """Describe a function."""
    return ProviderFunction(provider, params, VectorField("dense", 1, kind))


@pytest.mark.parametrize("kind", [VectorKind.FLOAT, VectorKind.INT8])
async def test_text_is_paid_for_once(kind: VectorKind) -> None:
    """A provider is asked only for texts that it was not asked for before."""
    paid = Paid()
    cached = CachedProviders(paid, VectorCache(CacheSettings()))
    assert list(cached.names) == ["tei", "openai"]
    for texts in (["a", "bb"], ["ccc", "bb", "\ud800"]):
        vectors = await cached.embed(function(kind=kind), texts, purpose=Purpose.DOCUMENT)
        assert vectors.tolist() == [[len(text)] for text in texts]
        assert vectors.dtype == (np.int8 if kind is VectorKind.INT8 else np.float32)
    assert paid.bill == ["a", "bb", "ccc", "\ud800"]


async def test_another_source_is_asked_anew() -> None:
    """Another model, purpose or kind of vector is another vector."""
    paid = Paid()
    cached = CachedProviders(paid, VectorCache(CacheSettings()))
    for asked, purpose in [
        (function(), Purpose.DOCUMENT),
        (function(), Purpose.QUERY),
        (function(model_name="other"), Purpose.DOCUMENT),
        (function(kind=VectorKind.INT8), Purpose.DOCUMENT),
    ]:
        await cached.embed(asked, ["a"], purpose=purpose)
    assert paid.bill == ["a"] * 4


async def test_provider_can_be_left_out() -> None:
    """Of a provider that the operator names, nothing is kept."""
    paid = Paid()
    cached = CachedProviders(paid, VectorCache(CacheSettings()), off_for=["tei"])
    for provider in ("tei", "tei", "openai", "openai"):
        await cached.embed(function(provider), ["a"], purpose=Purpose.DOCUMENT)
    assert len(paid.bill) == 3


async def test_provider_is_asked_whatever_is_known_if_that_is_wanted() -> None:
    """To see whether it still answers."""
    paid = Paid()
    cached = CachedProviders(paid, VectorCache(CacheSettings()))
    for is_fresh in (False, True, False):
        await cached.embed(function(), ["a"], purpose=Purpose.DOCUMENT, is_fresh=is_fresh)
    assert paid.bill == ["a", "a"]


async def test_kept_vectors_use_no_tokens() -> None:
    """Only what was asked of the provider counts as used."""
    cached = CachedProviders(Paid(), VectorCache(CacheSettings()))
    used = []
    for texts in (["a", "b"], ["a", "c"], ["b"]):
        spending = Spending()
        await cached.embed(function(), texts, purpose=Purpose.DOCUMENT, spending=spending)
        used.append(spending.tokens)
    assert used == [2, 1, 0]
