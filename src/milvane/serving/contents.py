"""
The use case `embed contents`: from a model's name, texts, images and videos to vectors and usage.

Media are fetched first, all of a request beside each other, and looked at without being decoded:
what they cost, and whether they may be had at all, is known before anything is computed. Then each
content is a task of its own, which decodes and embeds: while the network runs on some, the next
ones are decoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from milvane.domain.catalogue import SERVED_BY, WeightsName, find_model
from milvane.domain.errors import EmptyInput, InvalidInput, ServiceError
from milvane.domain.models import Model, ModelName
from milvane.domain.pictures import Seen, Viewing
from milvane.inference.adapting import adapt
from milvane.serving.accounting import NO_ACCOUNTS, Accounts
from milvane.serving.caching.cache import VectorCache
from milvane.serving.caching.forms import DenseForm
from milvane.serving.callers import current_caller
from milvane.serving.content_requests import (
    ContentRequest,
    EmbeddedContents,
    Outcome,
    PreparedContents,
    collect,
    enter,
    pixel_bytes,
)
from milvane.serving.fetching import Fetched, Fetcher, Order
from milvane.serving.measuring import ModelCounts
from milvane.serving.ports import (
    ContentEngine,
    FetchedMedia,
    MediaReader,
)
from milvane.serving.resolving import (
    WORTH_DISK,
    in_time,
    not_loaded,
    not_served,
    resolve_dimension,
)
from milvane.serving.settings import ServingSettings
from milvane.serving.tokenizing import Counted, tokenize_contents
from milvane.serving.turns import Turns
from milvane.serving.waiting import every_outcome, naming

TEXTS_AT_ONCE = 1024
"""Contents without images that wait for the network at once; enough to fill its passes."""


class ContentService:
    """Resolves, fetches, checks, and embeds contents, for every front door alike."""

    def __init__(
        self,
        engines: Mapping[WeightsName, ContentEngine],
        reader: MediaReader | None,
        settings: ServingSettings,
        *,
        served_by: Mapping[ModelName, WeightsName] = SERVED_BY,
        cache: VectorCache | None = None,
        cache_off_for: Container[str] = (),
        accounts: Accounts = NO_ACCOUNTS,
        loading: Container[WeightsName] = (),
    ) -> None:
        """
        Join the parts of the use case.

        Args:
            engines: What computes vectors, by the weights that it runs.

            reader: Who gets images and videos; none to take texts alone.

            settings: What an input may be, and how many are in work at once.

            served_by: Which weights serve a model.

            cache: Keeps vectors; none to compute them each time.

            cache_off_for: Weights of which nothing is kept.

            accounts: Says what may be used, and keeps the books.

            loading: Weights that are on their way into `engines`, as they are now.
        """
        self.engines = engines
        self._reader = reader
        self._settings = settings
        self._served_by = served_by
        self._cache = cache
        self._cache_off_for = cache_off_for
        self._accounts = accounts
        self._loading = loading
        self._fetcher = Fetcher(reader, settings)
        self._turns = Turns(
            max_at_once=settings.max_contents_at_once, max_bytes=settings.max_pixel_bytes
        )
        # Texts hold no pixels: they do not wait for those who decode a video.
        self._text_turns = Turns(max_at_once=TEXTS_AT_ONCE, max_bytes=1)
        self.counts: dict[str, ModelCounts] = {}
        """What was asked of each model, by its name."""

    def engine_of(self, model: Model) -> ContentEngine:
        """
        Find the engine whose weights serve a model here.

        Raises:
            ModelNotServed: If no weights do.
            UpstreamUnavailable: If those weights are not loaded, or not yet.
        """
        weights = self._served_by.get(model.name)
        if weights is None:
            raise not_served(model)
        engine = self.engines.get(weights)
        if engine is None:
            raise not_loaded(weights, model, self._loading)
        return engine

    async def embed(
        self, request: ContentRequest, *, time_left_s: float | None = None
    ) -> EmbeddedContents:
        """Prepare and compute in one step; see both for what they raise."""
        begun_s = time.monotonic()
        prepared = await self.prepare(request, time_left_s=time_left_s)
        if time_left_s is not None:
            time_left_s -= time.monotonic() - begun_s
        return await self.compute(prepared, time_left_s=time_left_s)

    async def prepare(
        self, request: ContentRequest, *, time_left_s: float | None = None
    ) -> PreparedContents:
        """
        Check a request, fetch its media, and count its tokens. Nothing is computed or counted yet.

        Returns:
            What `compute` takes, once; whoever does not compute it closes it.

        Raises:
            ModelNotFound: If the catalogue has no such model.
            DimensionNotOffered: If the model has no such dimension.
            EmptyInput: If a content or a text is empty.
            InputTooLong: If texts have too many tokens and may not be cut.
            MediaRejected: If an image or video cannot be had, or is none that the model takes.
            PermissionDenied: If the model's service is not enabled, or not for this instance.
            UpstreamUnavailable: If the model's weights are not loaded, or there are none.
            DeadlineExceeded: If the time is over first.
        """
        model = find_model(request.model)
        with self._accounts.refusals(model.name):
            self._accounts.check_service(model.name)
            resolve_dimension(model, request.dimension)
            engine = self.engine_of(model)
            self._check_inputs(model, request)
            return await in_time(self._prepare(model, engine, request, time_left_s), time_left_s)

    async def _prepare(
        self,
        model: Model,
        engine: ContentEngine,
        request: ContentRequest,
        time_left_s: float | None,
    ) -> PreparedContents:
        order = Order(
            contents=request.contents,
            model=model,
            modalities=engine.modalities,
            keeps_contract=request.keeps_contract,
            goes_on=request.goes_on,
            time_left_s=time_left_s,
        )
        fetched = await self._fetcher.fetch(order)
        try:
            seen = {
                index: fetched.parts_of(content)
                for index, content in enumerate(request.contents)
                if index not in fetched.failures
            }
            may_cut = request.cut_long_inputs
            if may_cut is None:
                may_cut = self._settings.cut_long_inputs
            counted = await tokenize_contents(
                engine, model, seen, request.wishes, may_cut=may_cut, goes_on=request.goes_on
            )
        except BaseException:
            fetched.close()
            raise
        return self._join(model, engine, request, fetched, counted)

    def _join(
        self,
        model: Model,
        engine: ContentEngine,
        request: ContentRequest,
        fetched: Fetched,
        counted: Counted,
    ) -> PreparedContents:
        """Put together what has equal vectors."""
        weights, wishes = self._served_by[model.name], request.wishes
        positions: dict[bytes, int] = {}
        inverse = {
            index: positions.setdefault(content.key, len(positions))
            for index, content in counted.contents.items()
        }
        first = {place: index for index, place in reversed(inverse.items())}
        return PreparedContents(
            model=model.name,
            weights=weights,
            engine=engine,
            viewing=engine.view(wishes),
            dimension=resolve_dimension(model, request.dimension),
            lane=request.lane,
            contents=request.contents,
            tokenized=[counted.contents[first[place]] for place in range(len(positions))],
            first=[first[place] for place in range(len(positions))],
            inverse=inverse,
            fetched=fetched,
            cut=counted.cut,
            ignored_instruction=wishes.instruction is not None
            and not engine.takes_instruction(wishes.purpose),
            goes_on=request.goes_on,
            failures=fetched.failures | counted.failures,
            cache=None if weights in self._cache_off_for else self._cache,
        )

    async def compute(
        self, prepared: PreparedContents, *, time_left_s: float | None = None
    ) -> EmbeddedContents:
        """
        Embed what was prepared, each distinct content once, and let go of its media.

        Args:
            prepared: Contents that were found good.

            time_left_s: Until the caller's deadline.

        Raises:
            QuotaExceeded: If a quota of the caller's is spent.
            MediaRejected: If an image or video is damaged, or takes more than it may to decode.
            Overloaded: If the queue is full.
            DeadlineExceeded: If the deadline passes first, or is certain to.
        """
        counts = self.counts.setdefault(prepared.model, ModelCounts())
        begun_s = time.monotonic()
        call = self._accounts.call(
            prepared.model, inputs=len(prepared.inverse), tokens=prepared.total_tokens
        )
        try:
            with call as account:
                work = self._compute(prepared, begun_s, time_left_s)
                embedded = await in_time(work, time_left_s)
                enter(account, embedded)
        except ServiceError as error:
            kind = error.kind.value
            counts.failures[kind] = counts.failures.get(kind, 0) + 1
            raise
        finally:
            prepared.close()
        counts.durations_s.add(time.monotonic() - begun_s)
        counts.tokens.add(embedded.total.total)
        counts.cached_tokens += embedded.cached_tokens
        return embedded

    async def _compute(
        self, prepared: PreparedContents, begun_s: float, time_left_s: float | None
    ) -> EmbeddedContents:
        def left_s() -> float | None:
            return None if time_left_s is None else time_left_s - (time.monotonic() - begun_s)

        async def embed(place: int) -> Outcome:
            with nullcontext() if prepared.goes_on else naming(prepared.first[place]):
                return await self._embed(prepared, place, left_s)

        outcomes = await every_outcome(
            [embed(place) for place in range(len(prepared.tokenized))], goes_on=prepared.goes_on
        )
        return collect(prepared, outcomes)

    async def _embed(
        self, prepared: PreparedContents, place: int, left_s: Callable[[], float | None]
    ) -> Outcome:
        """Embed one content, or find its vector; say whether it was found."""
        engine, content = prepared.engine, prepared.tokenized[place]
        if prepared.cache is None:
            work = self._see_and_embed(prepared, place, prepared.dimension, left_s)
            return await work, False

        async def compute(_: Sequence[int]) -> NDArray[np.float32]:
            row = await self._see_and_embed(prepared, place, engine.width, left_s)
            return row[np.newaxis]

        is_cheap = not prepared.media_of(place) and (
            content.tokens.total < WORTH_DISK / engine.width**2
        )
        found = await prepared.cache.fetch(
            prepared.cache.keys_of(engine.fingerprint, [content.key]),
            compute,
            DenseForm(engine.width),
            prepared.lane,
            cheap=(0,) if is_cheap else (),
        )
        vectors = adapt(np.asarray(found.vectors, np.float32), prepared.dimension, None)
        return vectors[0], found.was_kept[0]

    async def _see_and_embed(
        self,
        prepared: PreparedContents,
        place: int,
        dimension: int,
        left_s: Callable[[], float | None],
    ) -> NDArray[np.float32]:
        """Decode and embed one content, in its turn: pixels are in memory no longer than that."""
        tenant, media = current_caller().tenant, prepared.media_of(place)
        size_bytes = sum(pixel_bytes(prepared.viewing, each.facts) for each in media)
        turns = self._turns if media else self._text_turns
        async with turns.taken(prepared.lane, tenant, size_bytes):
            seen = []
            for position, each in enumerate(media):
                with prepared.naming(place, position):
                    seen.append(await self._see(each, prepared.viewing, left_s))
            return await prepared.engine.embed(
                prepared.tokenized[place],
                seen,
                dimension=dimension,
                lane=prepared.lane,
                tenant=tenant,
                time_left_s=left_s(),
            )

    async def _see(
        self, media: FetchedMedia, viewing: Viewing, left_s: Callable[[], float | None]
    ) -> Seen:
        assert self._reader is not None  # noqa: S101 - it has fetched what is seen here
        return await self._reader.see(media, viewing, time_left_s=left_s())

    def _check_inputs(self, model: Model, request: ContentRequest) -> None:
        contents = request.contents
        if request.is_counted and len(contents) > self._settings.max_inputs:
            raise InvalidInput(
                f"{len(contents)} inputs in one request; "
                f"at most {self._settings.max_inputs} are taken",
                parameter="input",
            )
        for index, content in enumerate(contents):
            if not content.parts or "" in content.parts:
                raise EmptyInput(index=index)
            if len(content.parts) > 1 and not model.fuses:
                raise InvalidInput(
                    f"input {index} has several parts, and {model.name} embeds one at a time",
                    index=index,
                    parameter="input",
                )
