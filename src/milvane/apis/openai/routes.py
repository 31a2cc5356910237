"""The routes of the OpenAI dialect, without the prefix they are mounted under."""

import asyncio
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request, Response

from milvane.apis.connection import run_while_connected
from milvane.apis.openai.translate import (
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


def openai_router(service: EmbeddingService, settings: ApisSettings) -> APIRouter:
    """Build the dialect's routes in front of the use case."""
    router = APIRouter(tags=["OpenAI"], responses=_ERRORS)

    @router.post("/embeddings", response_model=EmbeddingsAnswer, openapi_extra=_BODY)
    async def create_embeddings(request: Request) -> Response:
        """Embed one text or several."""
        body = parse_embeddings(await request.body(), max_inputs=settings.max_inputs)
        request.state.model = find_model(body.model)
        embedded = await run_while_connected(request.receive, service.embed(to_request(body)))
        pieces = render_embeddings(embedded, body=body, request_id=request.state.request_id)
        return Response(await _join_yielding(pieces), media_type="application/json")

    @router.get("/models")
    async def list_models() -> ModelList:
        """List the catalogue, with the weights that serve each model here."""
        return ModelList(data=[model_card(model) for model in MODELS.values()])

    @router.get("/models/{name:path}")
    async def get_model(name: str) -> ModelCard:
        """Describe one model."""
        return model_card(find_model(name))

    return router


async def _join_yielding(pieces: Iterator[bytes]) -> bytes:
    """Collect pieces, letting other requests run between them."""
    collected = []
    for piece in pieces:
        collected.append(piece)
        await asyncio.sleep(0)
    return b"".join(collected)
