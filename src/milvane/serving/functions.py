"""
Texts of embedding functions: some are embedded here, others by a remote provider.

Preparing checks and costs nothing; computing may. All functions of a request run at once, and
those that want the same texts from the same model here share one forward pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import InvalidInput, ServiceError
from milvane.domain.models import Output, Purpose
from milvane.domain.providers import ProviderFunction, Spending
from milvane.domain.vectors import SparseVector
from milvane.serving.accounting import Accounts
from milvane.serving.content_requests import EmbeddedContents, PreparedContents
from milvane.serving.embedding import Embedded, EmbeddingService, EmbedRequest, Prepared
from milvane.serving.ports import FieldVectors, RemoteProviders
from milvane.serving.resolving import distinct

AnyVectors: TypeAlias = FieldVectors | Sequence[SparseVector]
"""Vectors of the kind that a field holds: rows of an array, or sparse vectors."""

_T = TypeVar("_T")


class NoProviders:
    """A server that calls nobody."""

    names: Sequence[str] = ()

    def check(self, function: ProviderFunction) -> None:
        """Refuse any function."""
        raise InvalidInput(f"the provider {function.provider} is not called from here")

    def source_of(self, function: ProviderFunction, purpose: Purpose) -> str:  # noqa: ARG002 - port
        """Refuse any function."""
        raise InvalidInput(f"the provider {function.provider} is not called from here")

    async def embed(
        self,
        function: ProviderFunction,
        texts: Sequence[str],  # noqa: ARG002 - named by the port
        *,
        purpose: Purpose,  # noqa: ARG002 - named by the port
        time_left_s: float | None = None,  # noqa: ARG002 - named by the port
        is_fresh: bool = False,  # noqa: ARG002 - named by the port
        spending: Spending | None = None,  # noqa: ARG002 - named by the port
    ) -> FieldVectors:
        """Refuse any function."""
        raise InvalidInput(f"the provider {function.provider} is not called from here")


@dataclass(frozen=True, slots=True)
class RemotePrepared:
    """Texts for a remote provider."""

    function: ProviderFunction
    purpose: Purpose
    texts: list[str]
    """Each distinct one."""
    inverse: NDArray[np.intp]
    """For each text of the request, the position of its equal among the distinct ones."""


@dataclass(frozen=True, slots=True)
class LocalPrepared:
    """Texts for a model here, and which of its vectors a function takes."""

    prepared: Prepared
    """Functions that share a forward pass have the same one."""
    output: Output = Output.DENSE


@dataclass(frozen=True, slots=True)
class LocalContents:
    """Values for a model here that takes images, fetched; to be closed if they are not computed."""

    prepared: PreparedContents
    placing: Callable[[], AbstractContextManager[None]] = nullcontext
    """Says, of a failure in its context, where the input that failed stands."""


PreparedTexts: TypeAlias = LocalPrepared | LocalContents | RemotePrepared


@dataclass(frozen=True, slots=True)
class FunctionVectors:
    """What one function's texts became."""

    vectors: AnyVectors
    """In the order of the request."""
    cut_inputs: Sequence[int] = field(default=())
    """Positions of the texts that were cut to a model's limit, ascending."""
    failures: Mapping[int, ServiceError] = field(default_factory=dict)
    """Why inputs have no vectors, by position, where their function goes on without them."""


def close_all(prepared: Iterable[PreparedTexts]) -> None:
    """Let go of what was fetched; may be done twice."""
    for each in prepared:
        if isinstance(each, LocalContents):
            each.prepared.close()


def prepare_remote(
    function: ProviderFunction, texts: Sequence[str], purpose: Purpose
) -> RemotePrepared:
    """Prepare texts for a remote provider, identical ones once."""
    different, inverse = distinct(texts)
    return RemotePrepared(function, purpose, different, inverse)


def join_requests(requests: Sequence[EmbedRequest]) -> list[tuple[EmbedRequest, list[int]]]:
    """
    Join requests that one forward pass can serve: same model, same texts, same use.

    Args:
        requests: Each for dense or for sparse vectors.

    Returns:
        The joined requests in order of first appearance, each with the positions of those that it
        serves, ascending.
    """
    joined: list[tuple[EmbedRequest, list[int]]] = []
    for position, request in enumerate(requests):
        for place, (other, served) in enumerate(joined):
            both = _join(other, request)
            if both is not None:
                joined[place] = (both, [*served, position])
                break
        else:
            joined.append((request, [position]))
    return joined


def _join(first: EmbedRequest, second: EmbedRequest) -> EmbedRequest | None:
    outputs = first.outputs | second.outputs
    dimensions = {each.dimension for each in (first, second) if Output.DENSE in each.outputs}
    if len(dimensions) > 1:
        return None
    dimension = dimensions.pop() if dimensions else None
    both = replace(first, outputs=outputs, dimension=dimension)
    return both if both == replace(second, outputs=outputs, dimension=dimension) else None


async def compute_all(
    embedding: EmbeddingService,
    providers: RemoteProviders,
    prepared: Sequence[PreparedTexts],
    *,
    time_left_s: float | None = None,
    tell_all: bool = False,
) -> list[FunctionVectors]:
    """
    Embed what was prepared.

    Args:
        embedding: Who embeds here.

        providers: Who embeds elsewhere.

        prepared: The texts of each function.

        time_left_s: Until the caller's deadline.

        tell_all: Wait for all functions, and tell of each that fails; else the first failure ends
            what is under way for the others.

    Returns:
        One entry for each function, in order.

    Raises:
        Overloaded: If the queue here is full.
        DeadlineExceeded: If the deadline passes before all is embedded here.
        ProviderUnavailable: If a provider does not answer.
        ProviderRefused: If it refuses.
    """
    shared = {id(each.prepared): each for each in prepared if not isinstance(each, RemotePrepared)}
    remote = [each for each in prepared if isinstance(each, RemotePrepared)]
    jobs: list[Coroutine[Any, Any, Any]] = [
        _compute_here(embedding, each, time_left_s) for each in shared.values()
    ]
    jobs += [_compute_remote(providers, each, time_left_s, embedding.accounts) for each in remote]
    results = await _run_all(jobs, tell_all=tell_all)
    embedded = dict(zip(shared, results, strict=False))
    elsewhere = iter(results[len(shared) :])
    return [
        next(elsewhere)
        if isinstance(each, RemotePrepared)
        else _taken(embedded[id(each.prepared)], each)
        for each in prepared
    ]


async def _compute_here(
    embedding: EmbeddingService, each: LocalPrepared | LocalContents, time_left_s: float | None
) -> Embedded | EmbeddedContents:
    if isinstance(each, LocalPrepared):
        return await embedding.compute(each.prepared, time_left_s=time_left_s)
    with each.placing():
        return await embedding.contents.compute(each.prepared, time_left_s=time_left_s)


def _taken(
    embedded: Embedded | EmbeddedContents, asked: LocalPrepared | LocalContents
) -> FunctionVectors:
    if isinstance(embedded, EmbeddedContents):
        return FunctionVectors(embedded.vectors, embedded.cut_inputs, embedded.failures)
    is_sparse = isinstance(asked, LocalPrepared) and asked.output is Output.SPARSE
    return FunctionVectors(embedded.sparse if is_sparse else embedded.vectors, embedded.cut_inputs)


async def _compute_remote(
    providers: RemoteProviders,
    prepared: RemotePrepared,
    time_left_s: float | None,
    accounts: Accounts,
) -> FunctionVectors:
    function, spending = prepared.function, Spending()
    model = function.params.get("model_name", function.provider)
    call = accounts.call(model, inputs=len(prepared.inverse), tokens=0, provider=function.provider)
    with call as account:
        vectors = await providers.embed(
            function,
            prepared.texts,
            purpose=prepared.purpose,
            time_left_s=time_left_s,
            spending=spending,
        )
        # What a provider counts as tokens, and bills, only the provider knows, and says afterwards.
        account.tokens = spending.tokens
    repeats = len(prepared.texts) < len(prepared.inverse)
    return FunctionVectors(vectors[prepared.inverse] if repeats else vectors)


async def _run_all(jobs: Sequence[Coroutine[Any, Any, Any]], *, tell_all: bool) -> list[Any]:
    if len(jobs) == 1:
        return [await jobs[0]]
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        if tell_all:
            return await every_result(tasks)
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def every_result(jobs: Sequence[Awaitable[_T]]) -> list[_T]:
    """
    Wait for all jobs, whether some fail or not.

    Raises:
        ServiceError: If any fails; with all messages if several do, see `join_failures`.
    """
    results = await asyncio.gather(*jobs, return_exceptions=True)
    failures = []
    for result in results:
        if isinstance(result, ServiceError):
            failures.append(result)
        elif isinstance(result, BaseException):
            raise result
    if failures:
        raise join_failures(failures)
    return [result for result in results if not isinstance(result, BaseException)]


def join_failures(failures: Sequence[ServiceError]) -> ServiceError:
    """
    Make one failure of several, with all messages as Milvus lists them: `[first second]`.

    Trying again helps only if it helps all: a failure that is not worth it decides what kind the
    whole is.
    """
    leading = min(failures, key=lambda each: each.retryable)
    if len(failures) > 1:
        leading.message = f"[{' '.join(each.message for each in failures)}]"
    return leading
