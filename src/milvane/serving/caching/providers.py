"""Remote providers behind the cache: nobody pays twice for the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from milvane.domain.models import Lane, Purpose
from milvane.domain.providers import ProviderFunction, Spending, VectorKind
from milvane.serving.caching.cache import VectorCache
from milvane.serving.caching.forms import DenseForm
from milvane.serving.ports import FieldVectors, RemoteProviders

_COMPONENTS: Mapping[VectorKind, type[np.float32] | type[np.int8]] = MappingProxyType(
    {VectorKind.FLOAT: np.float32, VectorKind.INT8: np.int8}
)
"""Kinds of vectors that are kept."""


class CachedProviders:
    """Asks providers only for what is not known; itself one of `serving.ports.RemoteProviders`."""

    def __init__(
        self, providers: RemoteProviders, cache: VectorCache, *, off_for: Sequence[str] = ()
    ) -> None:
        """
        Stand before providers.

        Args:
            providers: Who is asked.

            cache: Who is asked first.

            off_for: Providers of which nothing is kept.
        """
        self._providers = providers
        self._cache = cache
        self._off_for = frozenset(off_for)

    @property
    def names(self) -> Sequence[str]:
        """Who can be called, by the name that functions use."""
        return self._providers.names

    def check(self, function: ProviderFunction) -> None:
        """Check a function's parameters; see the port."""
        self._providers.check(function)

    def source_of(self, function: ProviderFunction, purpose: Purpose) -> str:
        """Name what computes a function's vectors; see the port."""
        return self._providers.source_of(function, purpose)

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
        """Compute the vectors of texts, or find them, which uses nothing; see the port."""

        async def ask(positions: Sequence[int]) -> FieldVectors:
            return await self._providers.embed(
                function,
                [texts[position] for position in positions],
                purpose=purpose,
                time_left_s=time_left_s,
                spending=spending,
            )

        component = _COMPONENTS.get(function.output.kind)
        if is_fresh or component is None or function.provider in self._off_for:
            return await ask(range(len(texts)))
        contents = (text.encode("utf-8", "surrogatepass") for text in texts)
        fetched = await self._cache.fetch(
            self._cache.keys_of(self._providers.source_of(function, purpose), contents),
            ask,
            DenseForm(function.output.dimension, component),
            Lane.INTERACTIVE if purpose is Purpose.QUERY else Lane.BULK,
        )
        return fetched.vectors
