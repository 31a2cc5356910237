"""What the rewritten RPCs work with, and how they prepare texts of an embedding function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from milvane.domain.catalogue import MODELS
from milvane.domain.contents import Content, Wishes
from milvane.domain.errors import InvalidInput, MediaRejected, ServiceError
from milvane.domain.models import Lane, ModelName, Output, Purpose
from milvane.domain.providers import VectorKind
from milvane.domain.sources import read_part
from milvane.gateway.bindings import Bindings
from milvane.gateway.errors import OtherWeightsServe
from milvane.gateway.settings import Compat, OtherWeights
from milvane.gateway.translate.functions import EmbeddingFunction, FunctionTexts
from milvane.gateway.translate.schemas import failing_check
from milvane.serving.content_requests import ContentRequest
from milvane.serving.embedding import EmbeddingService, EmbedRequest, Prepared
from milvane.serving.functions import (
    FunctionVectors,
    LocalContents,
    LocalPrepared,
    NoProviders,
    PreparedTexts,
    RemotePrepared,
    close_all,
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


async def prepare_rows(
    services: Services, columns: Sequence[FunctionTexts], *, time_left_s: float | None
) -> list[PreparedTexts]:
    """
    Check texts of rows, and fetch what they point at.

    A refusal names each function, its input field and the row.
    """
    return await _prepare_all(services, columns, _ROWS, time_left_s)


async def prepare_queries(
    services: Services, queries: Sequence[FunctionTexts], *, time_left_s: float | None
) -> list[PreparedTexts]:
    """Check query texts; a refusal names each function, its output field and the query."""
    return await _prepare_all(services, queries, _QUERIES, time_left_s)


async def compute(
    services: Services,
    prepared: Sequence[PreparedTexts],
    *,
    time_left_s: float | None,
    tell_all: bool = False,
) -> list[FunctionVectors]:
    """
    Embed the texts of all functions of a request, in their order; see `compute_all`.

    What was fetched for them is let go, whatever happens.
    """
    try:
        return await compute_all(
            services.embedding,
            services.providers,
            prepared,
            time_left_s=time_left_s,
            tell_all=tell_all,
        )
    finally:
        close_all(prepared)


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
        asked = FunctionTexts(function, [_CHECK_TEXT])
        (prepared,) = await _prepare_all(services, [asked], _QUERIES, time_left_s)
        close_all([prepared])
        if not isinstance(prepared, RemotePrepared) and prepared.prepared.ignored_instruction:
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
    services: Services, asked: Sequence[FunctionTexts], use: _Use, time_left_s: float | None
) -> list[PreparedTexts]:
    found: dict[int, PreparedTexts] = {}
    texts, contents = [], []
    for position, each in enumerate(asked):
        remote = each.function.to_remote()
        if remote is not None:
            found[position] = prepare_remote(remote, each.texts, use.purpose)
        elif MODELS[ModelName(each.function.model)].is_text_only:
            texts.append(position)
        else:
            contents.append(position)
    joined = join_requests([_request(asked[position], use) for position in texts])

    async def prepare_texts(request: EmbedRequest, served: Sequence[int]) -> None:
        functions = {texts[each]: asked[texts[each]].function for each in served}
        shared = await _prepare(services, request, functions[texts[served[0]]], use)
        for position, function in functions.items():
            found[position] = LocalPrepared(shared, _output(function))

    async def prepare_contents(position: int) -> None:
        found[position] = await _prepare_contents(services, asked[position], use, time_left_s)

    try:
        await every_result(
            [
                *(prepare_texts(request, served) for request, served in joined),
                *(prepare_contents(position) for position in contents),
            ]
        )
    except BaseException:
        close_all(found.values())
        raise
    return [found[position] for position in range(len(asked))]


async def _prepare_contents(
    services: Services, asked: FunctionTexts, use: _Use, time_left_s: float | None
) -> LocalContents:
    """Take each value for what it is, a text or an address, and fetch what is at addresses."""
    function, placing = asked.function, partial(_placing, asked.function, use)
    is_query = use.purpose is Purpose.QUERY
    request = ContentRequest(
        model=function.model,
        contents=[Content((read_part(text),)) for text in asked.texts],
        dimension=function.dimension,
        wishes=Wishes(use.purpose, function.instruction if is_query else None),
        lane=use.lane,
        is_counted=False,
        goes_on=function.skips_failures and not is_query,
    )
    with placing():
        prepared = await services.embedding.contents.prepare(request, time_left_s=time_left_s)
    try:
        check_space(function, prepared.engine.space, services.other_weights)
    except ServiceError:
        prepared.close()
        raise
    return LocalContents(prepared, placing)


@contextmanager
def _placing(function: EmbeddingFunction, use: _Use) -> Iterator[None]:
    """Say of a failure which function it is of, and which field and row, or query."""
    try:
        yield
    except (InvalidInput, MediaRejected) as error:
        place = "" if error.index is None else f", {use.unit} {error.index}"
        is_row = use.purpose is Purpose.DOCUMENT
        field_name = function.input_field if is_row else function.output_field
        kind = InvalidInput if isinstance(error, InvalidInput) else MediaRejected
        placed = kind(f"{error.message}: function {function.name}, field {field_name}{place}")
        placed.index = error.index
        raise placed from error


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
    with _placing(function, use):
        prepared = await services.embedding.prepare(request)
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
