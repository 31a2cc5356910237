"""The routes of the OpenAI dialect, without the prefix they are mounted under."""

from typing import Any

from fastapi import APIRouter, Request, Response

from milvane.apis.connection import run_while_connected, time_left_s
from milvane.apis.direct import DirectRoute
from milvane.apis.openai.token_ids import count_inputs
from milvane.apis.openai.translate import (
    find_offered_model,
    model_card,
    parse_embeddings,
    render_embeddings,
    to_request,
)
from milvane.apis.openai.wire import (
    EmbeddingsAnswer,
    EmbeddingsBody,
    ErrorAnswer,
    ModelCard,
    ModelList,
)
from milvane.apis.pieces import join_yielding
from milvane.apis.ports import TokenTexts
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import MODELS, find_model
from milvane.serving.embedding import EmbeddingService

PREFIXES = ("/compatible-mode/v1", "/v1")

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot succeed as it is."},
    "5XX": {"model": ErrorAnswer, "description": "The server cannot do it now."},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": EmbeddingsBody.model_json_schema()}},
    }
}


def openai_router(
    service: EmbeddingService, settings: ApisSettings, vocabulary: TokenTexts | None
) -> APIRouter:
    """
    Build the dialect's routes in front of the use case.

    Args:
        service: The use case.

        settings: What a request may hold.

        vocabulary: What token ids mean; none refuses them.
    """
    router = APIRouter(tags=["OpenAI"], responses=_ERRORS)

    async def create_embeddings(request: Request) -> Response:
        """Embed one text or several."""
        body = parse_embeddings(await request.body(), max_inputs=settings.max_inputs)
        request.state.model = find_offered_model(
            body.model,
            inputs=count_inputs(body.input),
            are_limits_strict=settings.strict_limits,
        )
        asked = to_request(body, vocabulary)
        work = service.embed(asked, time_left_s=time_left_s(request))
        embedded = await run_while_connected(request, work)
        pieces = render_embeddings(embedded, body=body, request_id=request.state.request_id)
        return Response(await join_yielding(pieces), media_type="application/json")

    router.add_api_route(
        "/embeddings",
        create_embeddings,
        methods=["POST"],
        response_model=EmbeddingsAnswer,
        openapi_extra=_BODY,
        route_class_override=DirectRoute,
    )

    @router.get("/models")
    async def list_models() -> ModelList:
        """List the catalogue, with the weights that serve each model here."""
        return ModelList(
            data=[model_card(model, service.weights_of(model)) for model in MODELS.values()]
        )

    @router.get("/models/{name:path}")
    async def get_model(name: str) -> ModelCard:
        """Describe one model."""
        model = find_model(name)
        return model_card(model, service.weights_of(model))

    return router
