"""What the rewritten RPCs work with, and how they prepare texts of an embedding function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Lane, Purpose
from milvane.gateway.bindings import Bindings
from milvane.gateway.translate.functions import EmbeddingFunction
from milvane.serving.embedding import EmbeddingService, EmbedRequest, Prepared


@dataclass(frozen=True, slots=True)
class Services:
    """The gateway's collaborators, joined by `bootstrap`."""

    embedding: EmbeddingService
    bindings: Bindings
    next_revision: Callable[[], int]
    """Makes a schema revision that no earlier schema of the same name has had."""


async def prepare_rows(
    services: Services, function: EmbeddingFunction, texts: Sequence[str]
) -> Prepared:
    """Check texts of rows; a refusal names the function, its input field and the row."""
    request = _request(function, texts, purpose=Purpose.DOCUMENT, lane=Lane.BULK)
    return await _prepare(services, request, function.name, function.input_field, "row")


async def prepare_queries(
    services: Services, function: EmbeddingFunction, texts: Sequence[str]
) -> Prepared:
    """Check query texts; a refusal names the function, its output field and the query."""
    request = _request(function, texts, purpose=Purpose.QUERY, lane=Lane.INTERACTIVE)
    return await _prepare(services, request, function.name, function.output_field, "query")


def _request(
    function: EmbeddingFunction, texts: Sequence[str], *, purpose: Purpose, lane: Lane
) -> EmbedRequest:
    return EmbedRequest(
        model=function.model,
        texts=texts,
        dimension=function.dimension,
        purpose=purpose,
        lane=lane,
    )


async def _prepare(
    services: Services, request: EmbedRequest, function: str, field: str, unit: str
) -> Prepared:
    try:
        return await services.embedding.prepare(request)
    except InvalidInput as error:
        place = "" if error.index is None else f", {unit} {error.index}"
        raise InvalidInput(
            f"{error.message}: function {function}, field {field}{place}", index=error.index
        ) from error
