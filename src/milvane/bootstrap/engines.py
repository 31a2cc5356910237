"""What computes vectors here, and what it needs from the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from milvane.domain.catalogue import WeightsName
from milvane.domain.errors import NotFound
from milvane.domain.models import Lane, Purpose
from milvane.inference.engine import Engine, open_engine
from milvane.inference.installed import find_set
from milvane.inference.token_ids import LateTokenTexts
from milvane.inference.vocabulary import read_lexicon
from milvane.providers.service import ProviderService
from milvane.serving.caching.cache import VectorCache
from milvane.serving.caching.providers import CachedProviders
from milvane.serving.ports import RemoteProviders, TermEngine, TermWeigher, TextEngine
from milvane.settings import Settings, weights_dir


@dataclass(frozen=True, slots=True)
class Engines:
    """What each set of weights can do, once it is loaded; filled while the server starts."""

    texts: dict[WeightsName, TextEngine] = field(default_factory=dict)
    terms: dict[WeightsName, TermEngine] = field(default_factory=dict)
    weighers: dict[WeightsName, TermWeigher] = field(default_factory=dict)

    def add(self, name: WeightsName, engine: Engine, weigher: TermWeigher) -> None:
        """Let a set of weights be used."""
        self.texts[name] = engine
        self.weighers[name] = weigher
        if engine.weighs_terms:
            self.terms[name] = engine


def token_texts(settings: Settings) -> LateTokenTexts | None:
    """Look up what token ids mean that clients send; nothing if those files are not here."""
    try:
        return LateTokenTexts(weights_dir(settings))
    except NotFound:  # said to whoever sends token ids
        return None


def behind_cache(
    providers: ProviderService, cache: VectorCache | None, settings: Settings
) -> RemoteProviders:
    """Put providers behind the cache, if there is one."""
    if cache is None:
        return providers
    return CachedProviders(providers, cache, off_for=settings.cache.off_for)


@asynccontextmanager
async def load_engine(
    name: WeightsName, settings: Settings
) -> AsyncIterator[tuple[Engine, TermWeigher]]:
    """Run a set of weights while the context is open, with what weighs its terms."""
    folder = weights_dir(settings)
    weights = await asyncio.to_thread(find_set, settings.inference.weights_of(name), folder)
    remote = settings.inference.remote.get(name)
    async with open_engine(weights, folder, settings.inference, remote) as engine:
        yield engine, await asyncio.to_thread(read_lexicon, weights, folder)


async def warm(engines: Iterable[TextEngine]) -> None:
    """Embed one text with every engine: what would fail for a caller fails here."""
    for engine in engines:
        token_ids = await engine.tokenize(["warm"], purpose=Purpose.QUERY)
        await engine.embed(token_ids, dimension=1024, lane=Lane.INTERACTIVE)
