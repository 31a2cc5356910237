"""What the rewritten RPCs work with, and how they prepare texts of an embedding function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from milvane.domain.catalogue import find_model
from milvane.domain.errors import InvalidInput
from milvane.domain.models import Lane, Purpose
from milvane.gateway.bindings import Bindings
from milvane.gateway.translate.functions import EmbeddingFunction
from milvane.gateway.translate.schemas import failing_check
from milvane.serving.embedding import EmbeddingService, EmbedRequest, Prepared
from milvane.serving.functions import (
    FunctionVectors,
    NoProviders,
    PreparedTexts,
    compute_all,
    prepare_remote,
)
from milvane.serving.ports import RemoteProviders

_CHECK_TEXT = "check"
"""What Milvus has embedded to see whether a function works."""


@dataclass(frozen=True, slots=True)
class Services:
    """The gateway's collaborators, joined by `bootstrap`."""

    embedding: EmbeddingService
    bindings: Bindings
    next_revision: Callable[[], int]
    """Makes a schema revision that no earlier schema of the same name has had."""
    providers: RemoteProviders = field(default_factory=NoProviders)
    """Whom functions may name beside this service itself."""


async def prepare_rows(
    services: Services, function: EmbeddingFunction, texts: Sequence[str]
) -> PreparedTexts:
    """Check texts of rows; a refusal names the function, its input field and the row."""
    remote = function.to_remote()
    if remote is not None:
        return prepare_remote(remote, texts, Purpose.DOCUMENT)
    request = _request(function, texts, purpose=Purpose.DOCUMENT, lane=Lane.BULK)
    return await _prepare(services, request, function.name, function.input_field, "row")


async def prepare_queries(
    services: Services, function: EmbeddingFunction, texts: Sequence[str]
) -> PreparedTexts:
    """Check query texts; a refusal names the function, its output field and the query."""
    remote = function.to_remote()
    if remote is not None:
        return prepare_remote(remote, texts, Purpose.QUERY)
    request = _request(function, texts, purpose=Purpose.QUERY, lane=Lane.INTERACTIVE)
    return await _prepare(services, request, function.name, function.output_field, "query")


async def compute(
    services: Services, prepared: Sequence[PreparedTexts], *, time_left_s: float | None
) -> list[FunctionVectors]:
    """Embed the texts of all functions of a request, in their order."""
    return await compute_all(
        services.embedding, services.providers, prepared, time_left_s=time_left_s
    )


async def check_runs(
    services: Services, function: EmbeddingFunction, *, time_left_s: float | None
) -> None:
    """
    See whether a function works: a model here must be served, a provider must embed one text.

    Raises:
        InvalidInput: If the function cannot be called as it is.
        ProviderUnavailable: If its provider does not answer.
        ProviderRefused: If its provider refuses, or answers with something else.
        UpstreamUnavailable: If nothing here serves its model.
    """
    remote = function.to_remote()
    if remote is None:
        services.embedding.engine_of(find_model(function.model))
        return
    with failing_check(function.name):
        await services.providers.embed(
            remote, [_CHECK_TEXT], purpose=Purpose.DOCUMENT, time_left_s=time_left_s
        )


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
