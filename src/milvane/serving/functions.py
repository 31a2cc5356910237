"""
Texts of embedding functions: some are embedded here, others by a remote provider.

Preparing checks and costs nothing; computing may. All functions of a request run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction
from milvane.serving.embedding import EmbeddingService, Prepared, distinct
from milvane.serving.ports import FieldVectors, RemoteProviders


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


PreparedTexts: TypeAlias = Prepared | RemotePrepared


@dataclass(frozen=True, slots=True)
class FunctionVectors:
    """What one function's texts became."""

    vectors: FieldVectors
    """In the order of the request."""
    cut_inputs: Sequence[int] = field(default=())
    """Positions of the texts that were cut to a model's limit, ascending."""


def prepare_remote(
    function: ProviderFunction, texts: Sequence[str], purpose: Purpose
) -> RemotePrepared:
    """Prepare texts for a remote provider, identical ones once."""
    different, inverse = distinct(texts)
    return RemotePrepared(function, purpose, different, inverse)


async def compute_all(
    embedding: EmbeddingService,
    providers: RemoteProviders,
    prepared: Sequence[PreparedTexts],
    *,
    time_left_s: float | None = None,
) -> list[FunctionVectors]:
    """
    Embed what was prepared; the first failure ends what is under way for the others.

    Args:
        embedding: Who embeds here.

        providers: Who embeds elsewhere.

        prepared: The texts of each function.

        time_left_s: Until the caller's deadline.

    Returns:
        One entry for each function, in order.

    Raises:
        Overloaded: If the queue here is full.
        ProviderUnavailable: If a provider does not answer.
        ProviderRefused: If it refuses.
    """
    jobs = [
        _compute_remote(providers, each, time_left_s)
        if isinstance(each, RemotePrepared)
        else _compute_here(embedding, each)
        for each in prepared
    ]
    if len(jobs) == 1:
        return [await jobs[0]]
    return await _run_all(jobs)


async def _compute_here(embedding: EmbeddingService, prepared: Prepared) -> FunctionVectors:
    embedded = await embedding.compute(prepared)
    return FunctionVectors(embedded.vectors, embedded.cut_inputs)


async def _compute_remote(
    providers: RemoteProviders, prepared: RemotePrepared, time_left_s: float | None
) -> FunctionVectors:
    vectors = await providers.embed(
        prepared.function, prepared.texts, purpose=prepared.purpose, time_left_s=time_left_s
    )
    repeats = len(prepared.texts) < len(prepared.inverse)
    return FunctionVectors(vectors[prepared.inverse] if repeats else vectors)


async def _run_all(
    jobs: Sequence[Coroutine[Any, Any, FunctionVectors]],
) -> list[FunctionVectors]:
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
