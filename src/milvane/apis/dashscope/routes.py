"""The routes of the native dialect that answer at once."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from milvane.apis.connection import run_while_connected, time_left_s
from milvane.apis.dashscope.contents import render_content_answer, to_content_request
from milvane.apis.dashscope.parsing import parse_multimodal_body, parse_text_body
from milvane.apis.dashscope.ports import AsyncTasks
from milvane.apis.dashscope.tasks import MAX_PENDING, SUBMISSIONS
from milvane.apis.dashscope.translate import (
    check_count,
    check_multimodal_model,
    check_text_model,
    find_studio_model,
    render_text_answer,
    studio_models,
    to_request,
)
from milvane.apis.dashscope.wire import (
    ErrorAnswer,
    ListedModel,
    ModelLimit,
    ModelPage,
    ModelsAnswer,
    MultimodalAnswer,
    MultimodalBody,
    Quota,
    QuotaPage,
    QuotasAnswer,
    TextAnswer,
    TextBody,
)
from milvane.apis.direct import DirectRoute
from milvane.apis.pieces import join_yielding
from milvane.apis.schemas import body_of
from milvane.apis.settings import ApisSettings
from milvane.domain.errors import InvalidInput, PermissionDenied
from milvane.domain.models import Model
from milvane.serving.embedding import EmbeddingService

PREFIX = "/api/v1"
TEXT_PATH = f"{PREFIX}/services/embeddings/text-embedding/text-embedding"
MULTIMODAL_PATH = f"{PREFIX}/services/embeddings/multimodal-embedding/multimodal-embedding"
MAX_PAGE_SIZE = 200

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot succeed as it is."},
    "5XX": {"model": ErrorAnswer, "description": "The server cannot do it now."},
}
_NUMBER = {"type": "integer", "minimum": 1}
PageNumber = Annotated[str, Query(json_schema_extra={**_NUMBER, "default": 1})]
PageSize = Annotated[
    str, Query(json_schema_extra={**_NUMBER, "maximum": MAX_PAGE_SIZE, "default": 10})
]


def dashscope_router(
    service: EmbeddingService,
    settings: ApisSettings,
    tasks: AsyncTasks | None,
    *,
    aliases: tuple[str, ...],
) -> APIRouter:
    """
    Build the dialect's routes in front of the use case.

    Args:
        service: The use case.

        settings: What a request may hold.

        tasks: Takes what is to be done in the background; none refuses that.

        aliases: Further addresses that take texts.
    """
    router = APIRouter(tags=["DashScope"], responses=_ERRORS)

    async def embed_texts(request: Request) -> Response:
        """Embed one text or several; with `X-DashScope-Async: enable`, a file of texts."""
        content = await request.body()
        if request.headers.get("x-dashscope-async", "").lower() == "enable":
            if tasks is None:
                raise PermissionDenied("Current user api does not support asynchronous calls.")
            return await tasks.submit(request, content)
        body = parse_text_body(content, reads_nests=settings.nested_parameters)
        request.state.model = model = find_studio_model(body.model)
        check_text_model(model)
        check_count(len(body.input.texts), _limit(model, settings))
        work = service.embed(to_request(body, model), time_left_s=time_left_s(request))
        embedded = await run_while_connected(request, work)
        return await _answer(render_text_answer(embedded, request.state.request_id))

    async def embed_contents(request: Request) -> Response:
        """Embed texts, images and videos."""
        body = parse_multimodal_body(await request.body(), reads_nests=settings.nested_parameters)
        request.state.model = model = find_studio_model(body.model)
        check_multimodal_model(model)
        check_count(len(body.input.contents), _limit(model, settings))
        service.contents.engine_of(model)
        asked = to_content_request(body, model, is_strict=settings.strict_limits)
        left_s = time_left_s(request)
        work = service.contents.embed(asked.request, time_left_s=left_s)
        embedded = await run_while_connected(request, work)
        return await _answer(render_content_answer(embedded, asked, request.state.request_id))

    text_extra = body_of(TextBody)
    add = partial(router.add_api_route, methods=["POST"], route_class_override=DirectRoute)
    add(TEXT_PATH, embed_texts, response_model=TextAnswer, openapi_extra=text_extra)
    for alias in aliases:
        add(alias, embed_texts, include_in_schema=False)
    router.post(
        MULTIMODAL_PATH, response_model=MultimodalAnswer, openapi_extra=body_of(MultimodalBody)
    )(embed_contents)
    _add_listings(router, service, are_limits_strict=settings.strict_limits)
    return router


def _add_listings(router: APIRouter, service: EmbeddingService, *, are_limits_strict: bool) -> None:
    @router.get(f"{PREFIX}/models")
    async def list_models(
        request: Request, model: str = "", page_no: PageNumber = "1", page_size: PageSize = "10"
    ) -> ModelsAnswer:
        """List the models of this API, or look for one."""
        page, size = _number(page_no, "page_no"), _number(page_size, "page_size", MAX_PAGE_SIZE)
        found = _named(model)
        listed = [
            ListedModel(model=each.name, opensource=service.weights_of(each) is not None)
            for each in found[(page - 1) * size : page * size]
        ]
        output = ModelPage(models=listed, page_no=page, page_size=size, total=len(found))
        return ModelsAnswer(request_id=request.state.request_id, output=output)

    @router.get(f"{PREFIX}/quotas")
    @router.get(f"{PREFIX}/models/limits")
    async def list_quotas(
        request: Request, model: str = "", page_no: PageNumber = "1", page_size: PageSize = "10"
    ) -> QuotasAnswer:
        """List the limits of each model; null where there is none."""
        page, size = _number(page_no, "page_no"), _number(page_size, "page_size", MAX_PAGE_SIZE)
        found = _named(model)
        listed = [
            _quota(each, are_limits_strict=are_limits_strict)
            for each in found[(page - 1) * size : page * size]
        ]
        output = QuotaPage(quotas=listed, page_no=page, page_size=size, total=len(found))
        return QuotasAnswer(request_id=request.state.request_id, output=output)


def _quota(model: Model, *, are_limits_strict: bool) -> Quota:
    if not (are_limits_strict and model.is_asynchronous):
        return Quota(model=model.name)
    limit = ModelLimit(
        request_limit=SUBMISSIONS.requests,
        request_limit_period=round(SUBMISSIONS.period_s),
        async_user_queue_limit=MAX_PENDING,
    )
    return Quota(model=model.name, model_limit=limit)


def _named(name: str) -> list[Model]:
    return [model for model in studio_models() if name in {"", model.name}]


def _number(text: str, name: str, largest: int = 1_000_000) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= largest:
        raise InvalidInput(f"{name} must be a number from 1 to {largest}", parameter=name)
    return int(text[:9])


def _limit(model: Model, settings: ApisSettings) -> int:
    return model.max_batch_inputs if settings.strict_limits else settings.max_inputs


async def _answer(pieces: Iterator[bytes]) -> Response:
    return Response(await join_yielding(pieces), media_type="application/json")
