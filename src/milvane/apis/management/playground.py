"""Trying things out: texts become vectors, and a question finds rows."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from milvane.apis.management.bundle import ByManager
from milvane.apis.management.looking import find_inspector
from milvane.apis.management.ports import Insight
from milvane.apis.management.wire import Body
from milvane.domain.collections import TextHit, TextSearch
from milvane.domain.models import Lane, Purpose
from milvane.domain.prices import cost_of
from milvane.serving.callers import calling
from milvane.serving.embedding import EmbedRequest

MAX_TEXTS = 32
MAX_LENGTH = 100_000
_DIGITS = 6
"""Of a component, for reading: a program asks the APIs of the models."""


class EmbedBody(Body):
    """Texts to try a model on."""

    model: str = Field(max_length=128)
    texts: list[str] = Field(min_length=1, max_length=MAX_TEXTS)
    dimension: int | None = Field(default=None, ge=1)
    purpose: Purpose = Purpose.DOCUMENT
    instruction: str | None = Field(default=None, max_length=MAX_LENGTH)


class EmbedAnswer(BaseModel):
    """Their vectors, and how alike they are."""

    model: str
    dimension: int
    vectors: Sequence[Sequence[float]]
    token_counts: Sequence[int]
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
        """Embed a few texts, and compare each two."""
        began_s = time.perf_counter()
        request = EmbedRequest(
            model=body.model,
            texts=body.texts,
            dimension=body.dimension,
            purpose=body.purpose,
            instruction=body.instruction,
            lane=Lane.INTERACTIVE,
        )
        with calling(manager.caller):
            found = await insight.embedding.embed(request)
        vectors = found.vectors
        return EmbedAnswer(
            model=body.model,
            dimension=vectors.shape[1],
            vectors=vectors.astype(float).round(_DIGITS).tolist(),
            token_counts=found.token_counts,
            total_tokens=found.total_tokens,
            cached_tokens=found.cached_tokens,
            cost=cost_of({body.model: found.total_tokens}),
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
