"""The HTTP application: every dialect, health, and what holds for all of them."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from milvane.apis.aisearch.routes import aisearch_router
from milvane.apis.authentication import KeyCheck
from milvane.apis.background import Background, join_background, upload_limits
from milvane.apis.dashscope.ports import AsyncTasks
from milvane.apis.dashscope.routes import dashscope_router
from milvane.apis.dialects import NATIVE_ALIASES, answer_unexpected, dialect_of
from milvane.apis.direct import DirectEndpoints, DirectPaths
from milvane.apis.explorer import explorer_router
from milvane.apis.health import health_router
from milvane.apis.late import LateApp
from milvane.apis.management.bundle import Management
from milvane.apis.management.door import ManagementDoor
from milvane.apis.metrics import Measured, RequestTimes, metrics_router
from milvane.apis.middleware import BodyCap, LastResort, RequestIds, WeightsNames
from milvane.apis.openai.routes import PREFIXES, openai_router
from milvane.apis.oss.door import OssDoor
from milvane.apis.ports import TokenTexts
from milvane.apis.rates import StrictRates
from milvane.apis.settings import ApisSettings
from milvane.domain.errors import InvalidInput, ModelNotServed, ServiceError, StillLoading
from milvane.domain.readiness import Readiness
from milvane.media.desk import MediaDesk
from milvane.serving.access import EVERYONE, Authenticator
from milvane.serving.embedding import EmbeddingService

LOG = logging.getLogger(__name__)


def create_app(
    service: EmbeddingService,
    settings: ApisSettings,
    readiness: Callable[[], Readiness],
    *,
    tasks: AsyncTasks | None = None,
    background: Background | None = None,
    authenticator: Authenticator = EVERYONE,
    vocabulary: TokenTexts | None = None,
    measured: Measured | None = None,
    management: Management | None = None,
    media: MediaDesk | None = None,
    pages: Sequence[APIRouter] = (),
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """
    Build the HTTP application.

    Args:
        service: The use case behind every dialect.

        settings: What a request may hold.

        readiness: Says whether the whole server is ready; called for each probe.

        tasks: Takes embedding requests that are to be done in the background; none refuses them.

        background: Keeps files and runs jobs; none to offer neither.

        authenticator: Says who may call; everyone if not given.

        vocabulary: What inputs mean that are token ids; none refuses them.

        measured: What `/metrics` shows, and where requests are counted; only they are if not given.

        management: Governs, and reads usage; none to offer neither.

        media: Keeps images and videos; none to keep none.

        pages: What is shown to people besides, on paths that anybody may load.

        clock: Says the time in seconds, for rates; never goes back.

    Returns:
        An ASGI application that owns nothing: it needs no lifespan and may be served at once.
    """
    measured = measured or Measured()
    direct = DirectEndpoints()
    app = LateApp(
        title="Milvane",
        version=version("milvane"),
        docs_url=None,  # these pages load their scripts from elsewhere: `explorer` has its own
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            *_middleware(settings, background, authenticator, measured, management, media),
            Middleware(WeightsNames, weights_of=service.weights_of),
            Middleware(DirectPaths, endpoints=direct, answer_failure=_answer_failure),
        ],
        exception_handlers={
            ServiceError: _on_service_error,
            HTTPException: _on_http_refusal,
            RequestValidationError: _on_invalid_request,
        },
    )
    app.include_router(health_router(readiness))
    app.include_router(metrics_router(measured))
    app.include_router(explorer_router())
    for router in pages:
        app.include_router(router)
    for prefix in PREFIXES:
        openai = openai_router(service, settings, vocabulary)
        direct.add(openai, prefix)
        app.include_router(openai, prefix=prefix)
    if background is not None:
        rates = StrictRates(clock, is_on=settings.strict_limits)
        tasks = join_background(app, background, settings, rates)
    if management is not None:
        app.import_late_routes = partial(_import_management, management)
    dashscope = dashscope_router(service, settings, tasks, aliases=NATIVE_ALIASES)
    direct.add(dashscope)
    app.include_router(dashscope)
    app.include_router(aisearch_router(service, settings, clock))
    return app


def _middleware(
    settings: ApisSettings,
    background: Background | None,
    authenticator: Authenticator,
    measured: Measured,
    management: Management | None,
    media: MediaDesk | None,
) -> list[Middleware]:
    """Say what holds for every request, outermost first."""
    uploads = upload_limits(background)
    return [
        Middleware(RequestTimes, operations=measured.operations),
        Middleware(RequestIds),
        Middleware(LastResort, answer=answer_unexpected),
        Middleware(OssDoor, desk=media),
        Middleware(KeyCheck, authenticator=authenticator),
        Middleware(ManagementDoor, doorkeeper=management.doorkeeper if management else None),
        Middleware(BodyCap, max_body_bytes=settings.max_body_bytes, uploads=uploads),
    ]


def _import_management(management: Management) -> Callable[[], APIRouter]:
    from milvane.apis.management.routes import management_router  # for consoles and operators

    return partial(management_router, management)


async def _answer_failure(request: Request, failure: Exception) -> Response:
    if isinstance(failure, ServiceError):
        return await _on_service_error(request, failure)
    if isinstance(failure, HTTPException):
        return await _on_http_refusal(request, failure)
    raise failure


async def _on_service_error(request: Request, error: ServiceError) -> Response:
    request_id = request.state.request_id
    response = dialect_of(request.url.path).answer_error(
        error, request_id=request_id, model=getattr(request.state, "model", None)
    )
    # A model that nothing serves, or nothing yet, is the caller's wish, not the server's failure.
    if response.status_code >= 500 and not isinstance(error, ModelNotServed | StillLoading):
        LOG.error("failed request_id=%s path=%r: %s", request_id, request.url.path, error)
    return response


async def _on_invalid_request(request: Request, error: RequestValidationError) -> Response:
    """Say what is wrong with a body or a query that the framework has read."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"][1:]]
    message = f"{'.'.join(place) or 'the request'}: {first['msg']}"
    return await _on_service_error(
        request, InvalidInput(message, parameter=place[0] if place else None)
    )


async def _on_http_refusal(request: Request, refusal: HTTPException) -> Response:
    return dialect_of(request.url.path).answer_http_refusal(
        refusal,
        request_id=request.state.request_id,
        method=request.method,
        path=request.url.path,
    )
