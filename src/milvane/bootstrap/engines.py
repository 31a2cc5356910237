"""What computes vectors here, and what it needs from the disk."""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from milvane.domain.catalogue import MODELS, Weights, WeightsName
from milvane.domain.errors import Conflict, Internal, NotFound
from milvane.domain.models import Lane, ModelName, Purpose
from milvane.inference.contents.describing import CONTENT_FAMILIES
from milvane.inference.engine import Engine, open_engine
from milvane.inference.installed import find_set
from milvane.inference.pictures.engine import open_pictures
from milvane.inference.settings import InferenceSettings
from milvane.inference.token_ids import LateTokenTexts
from milvane.inference.vocabulary import read_lexicon
from milvane.serving.ports import (
    ContentEngine,
    TermEngine,
    TermWeigher,
    TextEngine,
)
from milvane.settings import Settings, weights_dir


@dataclass(frozen=True, slots=True)
class Engines:
    """What each set of weights can do, once it is loaded; filled while the server starts."""

    texts: dict[WeightsName, TextEngine] = field(default_factory=dict)
    terms: dict[WeightsName, TermEngine] = field(default_factory=dict)
    weighers: dict[WeightsName, TermWeigher] = field(default_factory=dict)
    contents: dict[WeightsName, ContentEngine] = field(default_factory=dict)
    loading: set[WeightsName] = field(default_factory=set)
    """Weights on their way: they will be added, or are known not to be."""

    def add(self, name: WeightsName, loaded: Loaded) -> None:
        """Let a set of weights be used."""
        self.loading.discard(name)
        if isinstance(loaded, LoadedContents):
            self.contents[name] = loaded.engine
            return
        self.texts[name] = loaded.engine
        self.weighers[name] = loaded.weigher
        if loaded.engine.weighs_terms:
            self.terms[name] = loaded.engine

    def remove(self, name: WeightsName) -> None:
        """Let a set of weights be used no more; what holds its engine already may go on."""
        for kind in (self.texts, self.terms, self.weighers, self.contents):
            kind.pop(name, None)

    def counting(self) -> Mapping[WeightsName, object]:
        """Look at all of them together, as they come and go."""
        both: list[MutableMapping[WeightsName, Any]] = [self.texts, self.contents]
        return ChainMap(*both)


@dataclass(frozen=True, slots=True)
class LoadedTexts:
    """A set of weights for texts that runs, and what weighs its terms."""

    engine: Engine
    weigher: TermWeigher

    @property
    def trouble(self) -> Callable[[], str | None]:
        """Says why nothing can be embedded now."""
        return self.engine.trouble


@dataclass(frozen=True, slots=True)
class LoadedContents:
    """A set of weights that takes images, and runs."""

    engine: ContentEngine


Loaded: TypeAlias = LoadedTexts | LoadedContents


def token_texts(settings: Settings) -> LateTokenTexts | None:
    """Look up what token ids mean that clients send; nothing if those files are not here."""
    try:
        return LateTokenTexts(weights_dir(settings))
    except NotFound:  # said to whoever sends token ids
        return None


@asynccontextmanager
async def load_engine(name: WeightsName, settings: Settings) -> AsyncIterator[Loaded]:
    """Run a set of weights while the context is open."""
    folder = weights_dir(settings)
    weights = await asyncio.to_thread(find_set, settings.inference.weights_of(name), folder)
    remote = settings.inference.remote.get(name)
    if weights.family in CONTENT_FAMILIES:
        if remote is not None:
            raise Conflict(
                f"inference.remote.{name}: {weights.name} takes images, and servers elsewhere "
                "are given texts alone; deploy the weights by their own name to run them here"
            )
        open_contents = await asyncio.to_thread(_import_contents)
        async with open_contents(weights, folder, settings.inference) as contents:
            yield LoadedContents(contents)
        return
    async with open_engine(weights, folder, settings.inference, remote) as engine:
        yield LoadedTexts(engine, await asyncio.to_thread(read_lexicon, weights, folder))


def _import_contents() -> Callable[
    [Weights, Path, InferenceSettings], AbstractAsyncContextManager[ContentEngine]
]:
    """Bring in what runs images, which most servers never need."""
    from milvane.inference.contents.engine import open_content_engine

    return open_content_engine


@asynccontextmanager
async def load_pictures(texts: Awaitable[Loaded], settings: Settings) -> AsyncIterator[Loaded]:
    """Run the embedded weights that see, beside the text model that they go with."""
    loaded = await texts
    if not isinstance(loaded, LoadedTexts):
        raise Internal("the embedded weights go with a text model, and were given another one")
    async with open_pictures(loaded.engine, settings.inference) as engine:
        yield LoadedContents(engine)


def check_fit(served_by: Mapping[ModelName, WeightsName], engines: Engines) -> None:
    """
    See whether every model is served by weights that take what it takes.

    Raises:
        Conflict: If one is not; the message names both.
    """
    for name, weights in served_by.items():
        model = MODELS[name]
        if weights in engines.texts and not model.is_text_only:
            raise Conflict(f"deployments: {name} takes images, and {weights} is for texts alone")
        if weights in engines.contents and model.is_text_only:
            raise Conflict(
                f"deployments: {name} takes texts alone, for which {weights} is not made"
            )


async def warm(engines: Iterable[TextEngine]) -> None:
    """Embed one text with every engine: what would fail for a caller fails here."""
    for engine in engines:
        token_ids = await engine.tokenize(["warm"], purpose=Purpose.QUERY)
        await engine.embed(token_ids, dimension=1024, lane=Lane.INTERACTIVE)
