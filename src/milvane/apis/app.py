"""The HTTP application: every dialect, health, and what holds for all of them."""

import logging
from collections.abc import Callable
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from milvane.apis.health import Readiness, health_router
from milvane.apis.middleware import BodyCap, LastResort, RequestIds
from milvane.apis.openai.errors import answer_error, answer_http_refusal, answer_unexpected
from milvane.apis.openai.routes import PREFIXES, openai_router
from milvane.apis.settings import ApisSettings
from milvane.domain.errors import ServiceError
from milvane.serving.embedding import EmbeddingService

LOG = logging.getLogger(__name__)


def create_app(
    service: EmbeddingService, settings: ApisSettings, readiness: Callable[[], Readiness]
) -> FastAPI:
    """
    Build the HTTP application.

    Args:
        service: The use case behind every dialect.

        settings: What a request may hold.

        readiness: Says whether the whole server is ready; called for each probe.

    Returns:
        An ASGI application that owns nothing: it needs no lifespan and may be served at once.
    """
    app = FastAPI(
        title="Milvane",
        version=version("milvane"),
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestIds),
            Middleware(LastResort, answer=answer_unexpected),
            Middleware(BodyCap, max_body_bytes=settings.max_body_bytes),
        ],
        exception_handlers={ServiceError: _on_service_error, HTTPException: _on_http_refusal},
    )
    app.include_router(health_router(readiness))
    for prefix in PREFIXES:
        app.include_router(openai_router(service, settings), prefix=prefix)
    return app


async def _on_service_error(request: Request, error: ServiceError) -> Response:
    request_id = request.state.request_id
    response = answer_error(
        error, request_id=request_id, model=getattr(request.state, "model", None)
    )
    if response.status_code >= 500:
        LOG.error("failed request_id=%s path=%r: %s", request_id, request.url.path, error)
    return response


async def _on_http_refusal(request: Request, refusal: HTTPException) -> Response:
    return answer_http_refusal(
        refusal,
        request_id=request.state.request_id,
        method=request.method,
        path=request.url.path,
    )
