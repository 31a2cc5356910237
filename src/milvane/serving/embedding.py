"""The use case `embed`: from a model's name and texts to vectors and usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milvane.domain.catalogue import SERVED_BY, WeightsName, find_model
from milvane.domain.errors import (
    DimensionNotOffered,
    EmptyInput,
    InputTooLong,
    InvalidInput,
    UpstreamUnavailable,
)
from milvane.domain.models import Lane, Model, Purpose
from milvane.serving.ports import TextEngine
from milvane.serving.settings import ServingSettings


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What a front door asks for."""

    model: str
    texts: Sequence[str]
    dimension: int | None = None
    """The model's default if none."""
    purpose: Purpose = Purpose.DOCUMENT
    lane: Lane = Lane.BULK


@dataclass(frozen=True, slots=True)
class Embedded:
    """What it gets back."""

    vectors: NDArray[np.float32]
    """Shape ``(texts, dimension)``, rows of length 1, in the order of the request."""
    token_counts: list[int]
    """Tokens of each text, as usage counts them."""
    cut_inputs: list[int]
    """Positions of the texts that were cut to the model's limit, ascending."""

    @property
    def total_tokens(self) -> int:
        """Tokens of all texts together."""
        return sum(self.token_counts)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that was found good: what remains is to compute it."""

    engine: TextEngine
    dimension: int
    lane: Lane
    token_ids: list[NDArray[np.int32]]
    """Of each distinct text."""
    inverse: NDArray[np.intp]
    """For each text of the request, the position of its equal among the distinct ones."""
    too_long: frozenset[int]
    """Positions of the distinct texts that were cut."""


def resolve_dimension(model: Model, dimension: int | None) -> int:
    """
    Choose the dimension of the result.

    Raises:
        DimensionNotOffered: If the model has no such dimension.
    """
    if dimension is None:
        return model.default_dimension
    if dimension not in model.dimensions:
        raise DimensionNotOffered(
            dimension=dimension, model=model.name, offered=str(model.dimensions)
        )
    return dimension


def distinct(texts: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """
    Leave out repeated texts.

    Returns:
        The distinct texts in order of first appearance, and for each text of the input the
        position of its equal among them, shape ``(texts,)``.
    """
    positions: dict[str, int] = {}
    inverse = [positions.setdefault(text, len(positions)) for text in texts]
    return list(positions), np.asarray(inverse, dtype=np.intp)


class EmbeddingService:
    """Resolves, checks, and embeds, for every front door alike."""

    def __init__(
        self, engines: Mapping[WeightsName, TextEngine], settings: ServingSettings
    ) -> None:
        self._engines = engines
        self._settings = settings

    def engine_of(self, model: Model) -> TextEngine:
        """
        Find the engine whose weights serve a model here.

        Raises:
            UpstreamUnavailable: If those weights are not loaded.
        """
        weights = SERVED_BY[model.name]
        engine = self._engines.get(weights)
        if engine is None:
            raise UpstreamUnavailable(
                f"the weights {weights!r} of {model.name} are not loaded: "
                f"run `milvane models pull {weights}` and start the server again"
            )
        return engine

    async def embed(self, request: EmbedRequest) -> Embedded:
        """Prepare and compute in one step; see both for what they raise."""
        return await self.compute(await self.prepare(request))

    async def prepare(self, request: EmbedRequest) -> Prepared:
        """
        Check a request and tokenize its texts. Nothing is computed or counted yet.

        Raises:
            ModelNotFound: If the catalogue has no such model.
            DimensionNotOffered: If the model has no such dimension.
            EmptyInput: If a text is an empty string.
            InputTooLong: If a text has too many tokens and may not be cut.
            UpstreamUnavailable: If the model's weights are not loaded.
        """
        model = find_model(request.model)
        dimension = resolve_dimension(model, request.dimension)
        engine = self.engine_of(model)
        self._check_inputs(request.texts)
        texts, inverse = distinct(request.texts)
        token_ids, too_long = await self._tokenize(engine, model, texts, inverse)
        return Prepared(
            engine=engine,
            dimension=dimension,
            lane=request.lane,
            token_ids=token_ids,
            inverse=inverse,
            too_long=frozenset(too_long),
        )

    async def compute(self, prepared: Prepared) -> Embedded:
        """
        Embed what was prepared, each distinct text once.

        Raises:
            Overloaded: If the queue is full.
        """
        token_ids, inverse = prepared.token_ids, prepared.inverse
        vectors = await prepared.engine.embed(
            token_ids, dimension=prepared.dimension, lane=prepared.lane
        )
        return Embedded(
            vectors=vectors[inverse] if len(token_ids) < len(inverse) else vectors,
            token_counts=[len(token_ids[position]) for position in inverse],
            cut_inputs=[
                index for index, position in enumerate(inverse) if position in prepared.too_long
            ],
        )

    def _check_inputs(self, texts: Sequence[str]) -> None:
        if len(texts) > self._settings.max_inputs:
            raise InvalidInput(
                f"{len(texts)} inputs in one request; "
                f"at most {self._settings.max_inputs} are taken",
                parameter="input",
            )
        for index, text in enumerate(texts):
            if not text:
                raise EmptyInput(index=index)

    async def _tokenize(
        self, engine: TextEngine, model: Model, texts: list[str], inverse: NDArray[np.intp]
    ) -> tuple[list[NDArray[np.int32]], set[int]]:
        """Tokenize distinct texts; refuse or cut those above the model's limit."""
        limit = model.max_input_tokens
        token_ids = await engine.tokenize(texts)
        too_long = {position for position, ids in enumerate(token_ids) if len(ids) > limit}
        if too_long and not self._settings.cut_long_inputs:
            position = min(too_long)
            raise InputTooLong(
                index=int(np.flatnonzero(inverse == position)[0]),
                tokens=len(token_ids[position]),
                max_tokens=limit,
                model=model.name,
            )
        return [ids[:limit] for ids in token_ids], too_long
