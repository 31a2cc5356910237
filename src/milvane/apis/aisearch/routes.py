"""The routes of the AI Search dialect."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from milvane.apis.aisearch.translate import (
    MAX_BODY_BYTES,
    check_size,
    find_service,
    parse,
    render_terms,
    render_vectors,
    texts_of,
    to_content_request,
    to_text_request,
    usage_of,
)
from milvane.apis.aisearch.wire import (
    ErrorAnswer,
    MultimodalAnswer,
    MultimodalBody,
    SparseAnswer,
    SparseBody,
    TextAnswer,
    TextBody,
)
from milvane.apis.connection import run_while_connected, time_left_s
from milvane.apis.pieces import join_yielding
from milvane.apis.rates import Rate, RateLimiter
from milvane.apis.schemas import body_of
from milvane.apis.settings import ApisSettings
from milvane.domain.models import Model
from milvane.serving.embedding import Embedded, EmbeddingService, EmbedRequest

PREFIX = "/v3/openapi/workspaces/{workspace}"

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot succeed as it is."},
    "5XX": {"model": ErrorAnswer, "description": "The server cannot do it now."},
}


Workspace = Annotated[str, Path(description="Any name.", examples=["default"])]
TextService = Annotated[str, Path(examples=["ops-text-embedding-001"])]
SparseService = Annotated[str, Path(examples=["ops-text-sparse-embedding-001"])]
MultimodalService = Annotated[str, Path(examples=["ops-m2-encoder"])]


class _Desk:
    """Admits requests, and has them embedded."""

    def __init__(
        self, service: EmbeddingService, settings: ApisSettings, clock: Callable[[], float]
    ) -> None:
        self._service = service
        self._rates = RateLimiter(clock) if settings.limit_rates else None
        self._settings = settings

    def admit(self, request: Request, model: Model) -> None:
        """Refuse a request that comes too soon, or whose model nothing serves."""
        request.state.model = model
        if self._rates is not None and model.max_requests_per_s is not None:
            rate = Rate(model.max_requests_per_s, setting="apis.limit_rates")
            self._rates.admit(model.name, rate)
        if model.is_text_only:
            self._service.engine_of(model)
        else:
            self._service.contents.engine_of(model)

    def check(self, content: bytes, inputs: int, model: Model) -> None:
        """Refuse a request that is too large."""
        is_strict = self._settings.strict_limits
        check_size(
            len(content),
            inputs,
            max_inputs=model.max_batch_inputs if is_strict else self._settings.max_inputs,
            max_body_bytes=MAX_BODY_BYTES if is_strict else self._settings.max_body_bytes,
        )

    async def embed(self, request: Request, asked: EmbedRequest) -> Embedded:
        """Embed, unless the caller hangs up."""
        work = self._service.embed(asked, time_left_s=time_left_s(request))
        return await run_while_connected(request, work)


def aisearch_router(
    service: EmbeddingService, settings: ApisSettings, clock: Callable[[], float]
) -> APIRouter:
    """
    Build the dialect's routes in front of the use case.

    Args:
        service: The use case.

        settings: What a request may hold, and how often.

        clock: Says the time in seconds, for the rates; never goes back.
    """
    router = APIRouter(
        prefix=PREFIX,
        tags=["AI Search"],
        responses=_ERRORS,
        dependencies=[Depends(_remember_workspace)],
    )
    desk = _Desk(service, settings, clock)
    _add_texts(router, desk)
    _add_terms(router, desk)
    _add_contents(router, desk, service, settings)
    return router


def _add_texts(router: APIRouter, desk: _Desk) -> None:
    @router.post(
        "/text-embedding/{service_id}", response_model=TextAnswer, openapi_extra=body_of(TextBody)
    )
    async def embed_texts(request: Request, service_id: TextService) -> Response:
        """Embed one text or several."""
        started_s = time.perf_counter()
        model = find_service(service_id)
        desk.admit(request, model)
        content = await request.body()
        body = parse(content, TextBody)
        desk.check(content, len(texts_of(body)), model)
        embedded = await desk.embed(request, to_text_request(body, model))
        usage = {"token_count": embedded.total_tokens}
        latency_ms, request_id = _latency_ms(started_s), request.state.request_id
        return await _answer(render_vectors(embedded, usage, latency_ms, request_id))


def _add_terms(router: APIRouter, desk: _Desk) -> None:
    @router.post(
        "/text-sparse-embedding/{service_id}",
        response_model=SparseAnswer,
        openapi_extra=body_of(SparseBody),
    )
    async def weigh_terms(request: Request, service_id: SparseService) -> Response:
        """Weigh the terms of one text or several."""
        started_s = time.perf_counter()
        model = find_service(service_id, sparse=True)
        desk.admit(request, model)
        content = await request.body()
        body = parse(content, SparseBody)
        desk.check(content, len(texts_of(body)), model)
        embedded = await desk.embed(request, to_text_request(body, model))
        latency_ms, request_id = _latency_ms(started_s), request.state.request_id
        return await _answer(render_terms(embedded, body, latency_ms, request_id))


def _add_contents(
    router: APIRouter, desk: _Desk, service: EmbeddingService, settings: ApisSettings
) -> None:
    @router.post(
        "/multi-modal-embedding/{service_id}",
        response_model=MultimodalAnswer,
        openapi_extra=body_of(MultimodalBody),
    )
    async def embed_contents(request: Request, service_id: MultimodalService) -> Response:
        """Embed texts and images."""
        started_s = time.perf_counter()
        model = find_service(service_id, multimodal=True)
        desk.admit(request, model)
        content = await request.body()
        body = parse(content, MultimodalBody)
        desk.check(content, len(body.input), model)
        asked = to_content_request(body, model, is_strict=settings.strict_limits)
        work = service.contents.embed(asked, time_left_s=time_left_s(request))
        embedded = await run_while_connected(request, work)
        usage = usage_of(embedded)
        latency_ms, request_id = _latency_ms(started_s), request.state.request_id
        return await _answer(render_vectors(embedded, usage, latency_ms, request_id))


async def _remember_workspace(request: Request, workspace: Workspace) -> None:
    request.state.workspace = workspace


def _latency_ms(started_s: float) -> int:
    return round((time.perf_counter() - started_s) * 1000)


async def _answer(pieces: Iterator[bytes]) -> Response:
    return Response(await join_yielding(pieces), media_type="application/json")
