"""What the rewritten RPCs work with, and how they prepare texts of an embedding function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Lane, Output, Purpose
from milvane.domain.providers import VectorKind
from milvane.gateway.bindings import Bindings
from milvane.gateway.errors import OtherWeightsServe
from milvane.gateway.settings import Compat, OtherWeights
from milvane.gateway.translate.functions import EmbeddingFunction, FunctionTexts
from milvane.gateway.translate.schemas import failing_check
from milvane.serving.embedding import EmbeddingService, EmbedRequest, Prepared
from milvane.serving.functions import (
    FunctionVectors,
    LocalPrepared,
    NoProviders,
    PreparedTexts,
    compute_all,
    every_result,
    join_requests,
    prepare_remote,
)
from milvane.serving.ports import RemoteProviders

logger = logging.getLogger(__name__)

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
    other_weights: OtherWeights = "refuse"
    """What happens to a function that was bound while other weights served its model."""
    compat: Compat = "2.6"
    """Which version of Milvus the rules and the wording are of."""


async def prepare_rows(services: Services, columns: Sequence[FunctionTexts]) -> list[PreparedTexts]:
    """Check texts of rows; a refusal names each function, its input field and the row."""
    return await _prepare_all(services, columns, _ROWS)


async def prepare_queries(
    services: Services, queries: Sequence[FunctionTexts]
) -> list[PreparedTexts]:
    """Check query texts; a refusal names each function, its output field and the query."""
    return await _prepare_all(services, queries, _QUERIES)


async def compute(
    services: Services,
    prepared: Sequence[PreparedTexts],
    *,
    time_left_s: float | None,
    tell_all: bool = False,
) -> list[FunctionVectors]:
    """Embed the texts of all functions of a request, in their order; see `compute_all`."""
    return await compute_all(
        services.embedding,
        services.providers,
        prepared,
        time_left_s=time_left_s,
        tell_all=tell_all,
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
        asked = _request(FunctionTexts(function, [_CHECK_TEXT]), _QUERIES)
        prepared = await _prepare(services, asked, function, _QUERIES)
        if prepared.ignored_instruction:
            logger.warning(
                "function %s: the weights that serve %s take no instruct, and ignore it",
                function.name,
                function.model,
            )
        return
    with failing_check(function.name):
        await services.providers.embed(
            remote,
            [_CHECK_TEXT],
            purpose=Purpose.DOCUMENT,
            time_left_s=time_left_s,
            is_fresh=True,
        )


@dataclass(frozen=True, slots=True)
class _Use:
    """What texts are for, and how a refusal calls one of them."""

    purpose: Purpose
    lane: Lane
    unit: str


_ROWS = _Use(Purpose.DOCUMENT, Lane.BULK, "row")
_QUERIES = _Use(Purpose.QUERY, Lane.INTERACTIVE, "query")


async def _prepare_all(
    services: Services, asked: Sequence[FunctionTexts], use: _Use
) -> list[PreparedTexts]:
    found: dict[int, PreparedTexts] = {}
    here = []
    for position, each in enumerate(asked):
        remote = each.function.to_remote()
        if remote is None:
            here.append(position)
        else:
            found[position] = prepare_remote(remote, each.texts, use.purpose)
    joined = join_requests([_request(asked[position], use) for position in here])
    prepared = await every_result(
        [
            _prepare(services, request, asked[here[served[0]]].function, use)
            for request, served in joined
        ]
    )
    for shared, (_, served) in zip(prepared, joined, strict=True):
        for position in (here[each] for each in served):
            found[position] = LocalPrepared(shared, _output(asked[position].function))
    return [found[position] for position in range(len(asked))]


def _request(asked: FunctionTexts, use: _Use) -> EmbedRequest:
    function = asked.function
    output = _output(function)
    return EmbedRequest(
        model=function.model,
        texts=asked.texts,
        dimension=function.dimension if output is Output.DENSE else None,
        purpose=use.purpose,
        instruction=function.instruction if use.purpose is Purpose.QUERY else None,
        lane=use.lane,
        outputs=frozenset({output}),
        is_counted=False,
    )


def _output(function: EmbeddingFunction) -> Output:
    return Output.SPARSE if function.kind is VectorKind.SPARSE else Output.DENSE


async def _prepare(
    services: Services, request: EmbedRequest, function: EmbeddingFunction, use: _Use
) -> Prepared:
    try:
        prepared = await services.embedding.prepare(request)
    except InvalidInput as error:
        place = "" if error.index is None else f", {use.unit} {error.index}"
        is_row = use.purpose is Purpose.DOCUMENT
        field_name = function.input_field if is_row else function.output_field
        raise InvalidInput(
            f"{error.message}: function {function.name}, field {field_name}{place}",
            index=error.index,
        ) from error
    check_space(function, prepared.engine.space, services.other_weights)
    return prepared


def check_space(function: EmbeddingFunction, space: str, policy: OtherWeights) -> None:
    """
    See whether vectors made now may be compared with those that a collection has.

    Raises:
        Conflict: If other weights made those, and that is to be refused.
    """
    if function.space in ("", space) or policy == "ignore":
        return
    found = (
        f"function {function.name} was bound while other weights served {function.model} "
        f"(then {function.space}, now {space}): vectors of the two do not mix"
    )
    if policy == "warn":
        logger.warning("%s", found)
        return
    raise OtherWeightsServe(
        f"{found}. Deploy the earlier weights again, or alter the function to bind those of now "
        "and embed the rows again, or have the operator set gateway.other_weights"
    )


def bind_spaces(
    services: Services, functions: Sequence[EmbeddingFunction], names: Container[str]
) -> tuple[EmbeddingFunction, ...]:
    """Note, for functions of these names, which vectors the weights of now give."""
    return tuple(
        replace(function, space=services.embedding.space_of(function.model))
        if function.name in names and function.to_remote() is None
        else function
        for function in functions
    )
