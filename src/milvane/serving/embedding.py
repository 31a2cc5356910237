"""The use case `embed`: from a model's name and texts to vectors and usage."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from milvane.domain.catalogue import SERVED_BY, WeightsName, find_model
from milvane.domain.contents import Content
from milvane.domain.errors import (
    EmptyInput,
    InputTooLong,
    InvalidInput,
    ServiceError,
    UpstreamUnavailable,
)
from milvane.domain.models import DENSE_ONLY, Lane, Model, ModelName, Output, Purpose
from milvane.domain.vectors import SparseVector
from milvane.inference.adapting import adapt
from milvane.serving.accounting import NO_ACCOUNTS, Accounts
from milvane.serving.caching.cache import Compute, Fetched, VectorCache
from milvane.serving.caching.forms import DenseForm, Form, Vectors, WeighedForm, WeighedVectors
from milvane.serving.callers import current_caller
from milvane.serving.content_requests import ContentRequest
from milvane.serving.contents import ContentService
from milvane.serving.measuring import ModelCounts
from milvane.serving.ports import TermEngine, TermWeigher, TextEngine, Wishes
from milvane.serving.resolving import (
    WORTH_DISK,
    check_outputs,
    distinct,
    in_time,
    not_loaded,
    not_served,
    resolve_dimension,
)
from milvane.serving.settings import ServingSettings
from milvane.serving.shortening import shorten

WEIGHED_AT_ONCE = 64
"""Texts whose terms are weighed before other requests get their turn: about two milliseconds."""


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What a front door asks for."""

    model: str
    texts: Sequence[str]
    dimension: int | None = None
    """The model's default if none."""
    purpose: Purpose = Purpose.DOCUMENT
    instruction: str | None = None
    """What the comparison is for, in the caller's words, where the model takes that."""
    lane: Lane = Lane.BULK
    outputs: frozenset[Output] = DENSE_ONLY
    cut_long_inputs: bool | None = None
    """Cut a text above the model's limit instead of refusing it; as the operator set it if none."""
    is_counted: bool = True
    """Whether `serving.max_inputs` holds; not where the size of a message is the limit."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What it gets back."""

    vectors: NDArray[np.float32]
    """
    Shape ``(texts, dimension)``, rows of length 1, in the order of the request; the dimension is 0
    where no dense vectors were asked for.
    """
    token_counts: list[int]
    """Tokens of each text, as usage counts them."""
    cut_inputs: list[int]
    """Positions of the texts that were cut to the model's limit, ascending."""
    cached_tokens: int = 0
    """Tokens of the texts whose vectors were known, or computed for another request just then."""
    sparse: Sequence[SparseVector] = ()
    """One for each text, in the order of the request; none where none were asked for."""
    terms: TermWeigher | None = None
    """Knows the terms of `sparse`; absent where that is empty."""
    ignored_instruction: bool = False
    """There was an instruction, and the weights take none for this purpose."""

    @property
    def total_tokens(self) -> int:
        """Tokens of all texts together."""
        return sum(self.token_counts)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that was found good: what remains is to compute it."""

    model: ModelName
    engine: TextEngine
    dimension: int
    lane: Lane
    token_ids: list[NDArray[np.int32]]
    """Of each distinct text."""
    inverse: NDArray[np.intp]
    """For each text of the request, the position of its equal among the distinct ones."""
    too_long: frozenset[int]
    """Positions of the distinct texts that were cut."""
    outputs: frozenset[Output] = DENSE_ONLY
    purpose: Purpose = Purpose.DOCUMENT
    terms: TermWeigher | None = None
    """Present where sparse vectors are asked for."""
    term_ids: Sequence[NDArray[np.int32]] = ()
    """Of each distinct text without any prompt; empty where that makes no difference."""
    term_engine: TermEngine | None = None
    """Present where they are asked for and the weights have a learned head for them."""
    ignored_instruction: bool = False
    cache: VectorCache | None = None
    """Whom to ask before the engine."""


class EmbeddingService:
    """Resolves, checks, and embeds, for every front door alike."""

    def __init__(
        self,
        engines: Mapping[WeightsName, TextEngine],
        settings: ServingSettings,
        *,
        weighers: Mapping[WeightsName, TermWeigher] = MappingProxyType({}),
        term_engines: Mapping[WeightsName, TermEngine] = MappingProxyType({}),
        served_by: Mapping[ModelName, WeightsName] = SERVED_BY,
        cache: VectorCache | None = None,
        cache_off_for: Container[str] = (),
        accounts: Accounts = NO_ACCOUNTS,
        contents: ContentService | None = None,
        loading: Container[WeightsName] = (),
    ) -> None:
        """
        Join the parts of the use case.

        Args:
            engines: What computes dense vectors, by the weights that it runs.

            settings: What an input may be.

            weighers: What makes sparse vectors, by the weights whose tokens it takes.

            term_engines: What makes them better, for weights with a learned head.

            served_by: Which weights serve a model.

            cache: Keeps what engines compute; none to compute it each time.

            cache_off_for: Weights of which nothing is kept.

            accounts: Says what may be used, and keeps the books.

            contents: Embeds for models that take images; none to have nothing that does.

            loading: Weights that are on their way into `engines`, as they are now.
        """
        self._engines = engines
        self._settings = settings
        self._weighers = weighers
        self._term_engines = term_engines
        self._served_by = served_by
        self._cache = cache
        self._cache_off_for = cache_off_for
        self._accounts = accounts
        self._loading = loading
        self.contents = contents or ContentService(
            {}, None, settings, served_by={}, accounts=accounts
        )
        """The same use case for contents that may be images and videos."""
        self._counts: dict[str, ModelCounts] = {}

    @property
    def counts(self) -> Mapping[str, ModelCounts]:
        """What was asked of each model, by its name; only models of the catalogue."""
        return ChainMap(self._counts, self.contents.counts)

    @property
    def accounts(self) -> Accounts:
        """The books that calls are entered in, those of remote providers too."""
        return self._accounts

    def engine_of(self, model: Model) -> TextEngine:
        """
        Find the engine whose weights serve a model here.

        Raises:
            ModelNotServed: If no weights do.
            UpstreamUnavailable: If those weights are not loaded, or not yet.
        """
        weights = self._weights_of(model)
        engine = self._engines.get(weights)
        if engine is None:
            raise not_loaded(weights, model, self._loading)
        return engine

    def weights_of(self, model: Model) -> WeightsName | None:
        """Say which weights serve a model here; none if none do."""
        return self._served_by.get(model.name)

    def space_of(self, name: str) -> str:
        """Say which vectors a model's are comparable with here; empty if nothing serves it yet."""
        weights = self._served_by.get(find_model(name).name)
        if weights is None:
            return ""
        engine = self._engines.get(weights) or self.contents.engines.get(weights)
        return engine.space if engine is not None else ""

    def _weights_of(self, model: Model) -> WeightsName:
        weights = self._served_by.get(model.name)
        if weights is None:
            raise not_served(model)
        return weights

    def _weigher_of(self, model: Model) -> TermWeigher:
        weights = self._weights_of(model)
        weigher = self._weighers.get(weights)
        if weigher is None:
            raise UpstreamUnavailable(f"the vocabulary of {weights!r} is not loaded")
        return weigher

    async def embed(self, request: EmbedRequest, *, time_left_s: float | None = None) -> Embedded:
        """Prepare and compute in one step; see both for what they raise."""
        if not find_model(request.model).is_text_only:
            return await self._embed_as_contents(request, time_left_s)
        begun_s = time.monotonic()
        prepared = await self.prepare(request)
        if time_left_s is not None:
            time_left_s -= time.monotonic() - begun_s
        return await self.compute(prepared, time_left_s=time_left_s)

    async def _embed_as_contents(
        self, request: EmbedRequest, time_left_s: float | None
    ) -> Embedded:
        """Embed texts with a model that takes images too."""
        check_outputs(find_model(request.model), request.outputs)
        asked = ContentRequest(
            model=request.model,
            contents=[Content((text,)) for text in request.texts],
            dimension=request.dimension,
            wishes=Wishes(purpose=request.purpose, instruction=request.instruction),
            lane=request.lane,
            cut_long_inputs=request.cut_long_inputs,
            is_counted=request.is_counted,
        )
        found = await self.contents.embed(asked, time_left_s=time_left_s)
        return Embedded(
            vectors=found.vectors,
            token_counts=[each.total for each in found.tokens],
            cut_inputs=list(found.cut_inputs),
            cached_tokens=found.cached_tokens,
            ignored_instruction=found.ignored_instruction,
        )

    async def prepare(self, request: EmbedRequest) -> Prepared:
        """
        Check a request and tokenize its texts. Nothing is computed or counted yet.

        The model is one for texts alone; others' contents are prepared by `contents`.

        Raises:
            ModelNotFound: If the catalogue has no such model.
            OutputNotOffered: If the model has no such vectors.
            DimensionNotOffered: If the model has no such dimension.
            EmptyInput: If a text is an empty string.
            InputTooLong: If a text has too many tokens and may not be cut.
            PermissionDenied: If the model's service is not enabled, or not for this instance.
            UpstreamUnavailable: If the model's weights are not loaded, or there are none.
        """
        model = find_model(request.model)
        with self._accounts.refusals(model.name):
            self._accounts.check_service(model.name)
            return await self._prepare(model, request)

    async def _prepare(self, model: Model, request: EmbedRequest) -> Prepared:
        check_outputs(model, request.outputs)
        dimension = 0
        if Output.DENSE in request.outputs:
            dimension = resolve_dimension(model, request.dimension)
        engine = self.engine_of(model)
        terms = self._weigher_of(model) if Output.SPARSE in request.outputs else None
        self._check_inputs(request)
        texts, inverse = distinct(request.texts)
        may_cut = request.cut_long_inputs
        if may_cut is None:
            may_cut = self._settings.cut_long_inputs
        tokenize = partial(
            engine.tokenize, purpose=request.purpose, instruction=request.instruction
        )
        token_ids = await tokenize(await shorten(texts, model.max_input_tokens, tokenize))
        too_long = _find_too_long(model, token_ids, inverse, may_cut=may_cut)
        return Prepared(
            model=model.name,
            engine=engine,
            dimension=dimension,
            lane=request.lane,
            token_ids=[ids[: model.max_input_tokens] for ids in token_ids],
            inverse=inverse,
            too_long=too_long,
            outputs=request.outputs,
            purpose=request.purpose,
            terms=terms,
            term_ids=await engine.tokenize(texts, purpose=None)
            if terms and engine.adds_words(request.purpose)
            else (),
            term_engine=self._term_engines.get(self._served_by[model.name]) if terms else None,
            ignored_instruction=request.instruction is not None
            and not engine.takes_instruction(request.purpose),
            cache=None if self._served_by[model.name] in self._cache_off_for else self._cache,
        )

    async def compute(self, prepared: Prepared, *, time_left_s: float | None = None) -> Embedded:
        """
        Embed what was prepared, each distinct text once.

        Args:
            prepared: Texts that were found good.

            time_left_s: Until the caller's deadline.

        Raises:
            QuotaExceeded: If a quota of the caller's is spent.
            Overloaded: If the queue is full.
            DeadlineExceeded: If the deadline passes first, or is certain to.
        """
        counts = self._counts.setdefault(prepared.model, ModelCounts())
        begun_s = time.monotonic()
        tokens = sum(len(prepared.token_ids[place]) for place in prepared.inverse)
        call = self._accounts.call(prepared.model, inputs=len(prepared.inverse), tokens=tokens)
        try:
            with call as account:
                embedded = await _compute(prepared, time_left_s)
                account.cached_tokens = embedded.cached_tokens
        except ServiceError as error:
            kind = error.kind.value
            counts.failures[kind] = counts.failures.get(kind, 0) + 1
            raise
        counts.durations_s.add(time.monotonic() - begun_s)
        counts.tokens.add(embedded.total_tokens)
        counts.cached_tokens += embedded.cached_tokens
        return embedded

    def _check_inputs(self, request: EmbedRequest) -> None:
        if request.is_counted and len(request.texts) > self._settings.max_inputs:
            raise InvalidInput(
                f"{len(request.texts)} inputs in one request; "
                f"at most {self._settings.max_inputs} are taken",
                parameter="input",
            )
        for index, text in enumerate(request.texts):
            if not text:
                raise EmptyInput(index=index)


def _find_too_long(
    model: Model,
    token_ids: Sequence[NDArray[np.int32]],
    inverse: NDArray[np.intp],
    *,
    may_cut: bool,
) -> frozenset[int]:
    """Say which distinct texts are above the model's limit; refuse them if they may not be cut."""
    limit = model.max_input_tokens
    too_long = frozenset(i for i, ids in enumerate(token_ids) if len(ids) > limit)
    if too_long and not may_cut:
        position = min(too_long)
        raise InputTooLong(
            index=int(np.flatnonzero(inverse == position)[0]),
            tokens=len(token_ids[position]),
            max_tokens=limit,
            model=model.name,
        )
    return too_long


async def _compute(prepared: Prepared, time_left_s: float | None) -> Embedded:
    token_ids, inverse = prepared.token_ids, prepared.inverse
    vectors, was_kept = np.empty((len(token_ids), 0), np.float32), [False] * len(token_ids)
    sparse: Sequence[SparseVector]
    if prepared.term_engine is not None:
        vectors, sparse, was_kept = await _embed_terms(prepared, prepared.term_engine, time_left_s)
    else:
        if Output.DENSE in prepared.outputs:
            vectors, was_kept = await _embed(prepared, time_left_s)
        sparse = await _weigh(prepared)
    return Embedded(
        vectors=vectors[inverse] if len(token_ids) < len(inverse) else vectors,
        token_counts=[len(token_ids[position]) for position in inverse],
        cut_inputs=[
            index for index, position in enumerate(inverse) if position in prepared.too_long
        ],
        cached_tokens=sum(len(token_ids[place]) for place in inverse if was_kept[place]),
        sparse=[sparse[position] for position in inverse] if sparse else (),
        terms=prepared.terms,
        ignored_instruction=prepared.ignored_instruction,
    )


async def _embed(
    prepared: Prepared, time_left_s: float | None
) -> tuple[NDArray[np.float32], list[bool]]:
    """Embed each distinct text, or find its vector; say which ones were found."""
    engine, token_ids = prepared.engine, prepared.token_ids
    ask = partial(
        engine.embed,
        lane=prepared.lane,
        tenant=current_caller().tenant,
        time_left_s=time_left_s,
    )
    if prepared.cache is None:
        vectors = await ask(token_ids, dimension=prepared.dimension)
        return vectors, [False] * len(token_ids)

    async def compute(positions: Sequence[int]) -> NDArray[np.float32]:
        return await ask([token_ids[position] for position in positions], dimension=engine.width)

    # One vector serves every dimension, and both purposes where the tokens are the same.
    work = _fetch(prepared, prepared.cache, engine.fingerprint, compute, DenseForm(engine.width))
    fetched = await in_time(work, time_left_s)
    vectors = adapt(np.asarray(fetched.vectors, np.float32), prepared.dimension, None)
    return vectors, fetched.was_kept


async def _embed_terms(
    prepared: Prepared, engine: TermEngine, time_left_s: float | None
) -> tuple[NDArray[np.float32], Sequence[SparseVector], list[bool]]:
    """Embed and weigh each distinct text, or find both; say which ones were found."""
    token_ids, width = prepared.token_ids, prepared.engine.width
    ask = partial(
        engine.embed_terms,
        lane=prepared.lane,
        tenant=current_caller().tenant,
        time_left_s=time_left_s,
    )
    if prepared.cache is None:
        vectors, sparse = await ask(token_ids, dimension=prepared.dimension)
        return vectors, sparse, [False] * len(token_ids)

    async def compute(positions: Sequence[int]) -> WeighedVectors:
        chosen = [token_ids[position] for position in positions]
        return WeighedVectors(*await ask(chosen, dimension=width))

    source = f"{prepared.engine.fingerprint}, weighed"
    work = _fetch(prepared, prepared.cache, source, compute, WeighedForm(width))
    fetched = await in_time(work, time_left_s)
    vectors = adapt(fetched.vectors.dense, prepared.dimension, None)
    return vectors, fetched.vectors.terms, fetched.was_kept


async def _fetch(
    prepared: Prepared,
    cache: VectorCache,
    source: str,
    compute: Compute[Vectors],
    form: Form[Vectors],
) -> Fetched[Vectors]:
    """Ask the cache for the vectors of each distinct text; see there."""
    token_ids, width = prepared.token_ids, prepared.engine.width
    keys = cache.keys_of(source, (ids.data for ids in token_ids))
    worth_tokens = WORTH_DISK / width**2
    cheap = frozenset(place for place, ids in enumerate(token_ids) if len(ids) < worth_tokens)
    return await cache.fetch(keys, compute, form, prepared.lane, cheap=cheap)


async def _weigh(prepared: Prepared) -> list[SparseVector]:
    """Weigh the terms of each distinct text, from the tokens that the engine embeds too."""
    if prepared.terms is None:
        return []
    vectors = []
    for position, ids in enumerate(prepared.term_ids or prepared.token_ids):
        vectors.append(prepared.terms.weigh(ids, prepared.purpose))
        if position % WEIGHED_AT_ONCE == WEIGHED_AT_ONCE - 1:
            await asyncio.sleep(0)
    return vectors
