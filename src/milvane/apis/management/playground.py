"""Trying things out: texts and pictures become vectors, and a question finds rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from milvane.apis.management.bundle import ByManager
from milvane.apis.management.looking import find_inspector
from milvane.apis.management.ports import Insight
from milvane.apis.management.wire import Body
from milvane.domain.catalogue import find_model
from milvane.domain.collections import TextHit, TextSearch
from milvane.domain.contents import Content, MediaFacts, MediaPart, Part, Wishes
from milvane.domain.errors import InvalidInput
from milvane.domain.models import Lane, Modality, Purpose
from milvane.domain.prices import cost_of
from milvane.serving.callers import calling
from milvane.serving.content_requests import ContentRequest
from milvane.serving.embedding import EmbeddingService, EmbedRequest

MAX_TEXTS = 32
MAX_MEDIA = 16
MAX_LENGTH = 100_000
_DIGITS = 6
"""Of a component, for reading: a program asks the APIs of the models."""


class ContentBody(Body):
    """A text, images and videos that become one vector, where the model fuses several."""

    text: str = Field(default="", max_length=MAX_LENGTH)
    media: list[str] = Field(default_factory=list, max_length=MAX_MEDIA)
    """Addresses, or `data:` URIs."""


class EmbedBody(Body):
    """What to try a model on: texts, or contents."""

    model: str = Field(max_length=128)
    texts: list[str] = Field(default_factory=list, max_length=MAX_TEXTS)
    contents: list[ContentBody] = Field(default_factory=list, max_length=MAX_TEXTS)
    dimension: int | None = Field(default=None, ge=1)
    purpose: Purpose = Purpose.DOCUMENT
    instruction: str | None = Field(default=None, max_length=MAX_LENGTH)


class MediaAnswer(BaseModel):
    """What an image or a video was found to be."""

    kind: Modality
    format: str
    width: int
    height: int
    frames: int
    duration_s: float
    size_bytes: int

    @classmethod
    def of(cls, facts: MediaFacts) -> MediaAnswer:
        """Show what is known of it."""
        return cls(
            kind=facts.modality,
            format=facts.format,
            width=facts.width,
            height=facts.height,
            frames=facts.frames,
            duration_s=facts.duration_s,
            size_bytes=facts.size_bytes,
        )


class EmbedAnswer(BaseModel):
    """Their vectors, and how alike they are."""

    model: str
    dimension: int
    vectors: Sequence[Sequence[float]]
    token_counts: Sequence[int]
    media: Sequence[Sequence[MediaAnswer]]
    """Of each content, what its images and videos were found to be."""
    total_tokens: int
    cached_tokens: int
    cost: float | None
    """What the hosted model of this name would have cost, in US dollars."""
    similarities: Sequence[Sequence[float]]
    """Cosines of each two."""
    took_s: float


class SearchBody(Body):
    """A question to a collection."""

    instance: str = Field(max_length=256)
    collection: str = Field(max_length=256)
    text: str = Field(min_length=1, max_length=MAX_LENGTH)
    field: str = Field(max_length=256)
    database: str = Field(default="", max_length=256)
    filter: str = Field(default="", max_length=MAX_LENGTH)
    limit: int = Field(default=10, ge=1, le=100)


class SearchAnswer(BaseModel):
    """Rows, best first."""

    hits: Sequence[TextHit]
    took_s: float


def playground_router(insight: Insight) -> APIRouter:
    """Build the routes of the playground; what they use is counted like anybody's use."""
    router = APIRouter(prefix="/playground")

    @router.post("/embed")
    async def embed(body: EmbedBody, manager: ByManager) -> EmbedAnswer:
        """Embed a few texts, images and videos, and compare each two."""
        began_s = time.perf_counter()
        if bool(body.texts) == bool(body.contents):
            raise InvalidInput("give texts, or contents", parameter="texts")
        with calling(manager.caller):
            found = await _embed(insight.embedding, body)
        vectors = found.vectors
        total_tokens = sum(found.token_counts)
        return EmbedAnswer(
            model=body.model,
            dimension=vectors.shape[1],
            vectors=vectors.astype(float).round(_DIGITS).tolist(),
            token_counts=found.token_counts,
            media=[[MediaAnswer.of(each) for each in facts] for facts in found.media],
            total_tokens=total_tokens,
            cached_tokens=found.cached_tokens,
            cost=cost_of({body.model: total_tokens}),
            similarities=(vectors @ vectors.T).astype(float).round(_DIGITS).tolist(),
            took_s=time.perf_counter() - began_s,
        )

    @router.post("/search")
    async def search(body: SearchBody, manager: ByManager) -> SearchAnswer:
        """Search a collection with a text, as a client's search does."""
        inspector = find_inspector(insight, body.instance)
        question = TextSearch(**body.model_dump(exclude={"instance"}))
        began_s = time.perf_counter()
        with calling(manager.caller):
            hits = await inspector.search(question)
        return SearchAnswer(hits=hits, took_s=time.perf_counter() - began_s)

    return router


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of a trial, whichever use case it was of."""

    vectors: NDArray[np.float32]
    token_counts: Sequence[int]
    media: Sequence[Sequence[MediaFacts]]
    cached_tokens: int


async def _embed(service: EmbeddingService, body: EmbedBody) -> _Found:
    if find_model(body.model).is_text_only:
        return await _embed_texts(service, body)
    contents = [Content((text,)) for text in body.texts]
    for each in body.contents:
        parts: list[Part] = [MediaPart(source) for source in each.media]
        contents.append(Content((each.text, *parts) if each.text or not parts else tuple(parts)))
    found = await service.contents.embed(
        ContentRequest(
            model=body.model,
            contents=contents,
            dimension=body.dimension,
            wishes=Wishes(purpose=body.purpose, instruction=body.instruction),
            lane=Lane.INTERACTIVE,
        )
    )
    counts = [each.total for each in found.tokens]
    return _Found(found.vectors, counts, found.media, found.cached_tokens)


async def _embed_texts(service: EmbeddingService, body: EmbedBody) -> _Found:
    for index, each in enumerate(body.contents):
        if each.media:
            raise InvalidInput(
                f"{body.model} takes texts alone, and content {index} has an image or a video",
                index=index,
                parameter="contents",
            )
    texts = body.texts or [each.text for each in body.contents]
    found = await service.embed(
        EmbedRequest(
            model=body.model,
            texts=texts,
            dimension=body.dimension,
            purpose=body.purpose,
            instruction=body.instruction,
            lane=Lane.INTERACTIVE,
        )
    )
    return _Found(found.vectors, found.token_counts, [()] * len(texts), found.cached_tokens)
