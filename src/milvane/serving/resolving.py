"""What a request for vectors comes to, whatever is embedded: its dimension, its time, its worth."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from milvane.domain.catalogue import WeightsName, weights_to_pull
from milvane.domain.errors import (
    DeadlineExceeded,
    DimensionNotOffered,
    ModelNotServed,
    OutputNotOffered,
    StillLoading,
    UpstreamUnavailable,
)
from milvane.domain.models import Model, Output

_T = TypeVar("_T")

WORTH_DISK = 24 * 384**2
"""
Tokens times the square of the network's width, which is about its work, from which on a vector is
kept on the disk too. Below, writing would cost a stream without repeats more than 2 %.
"""

_LOADING_RETRY_S = 1.0
"""After which a caller may try again; weights of the package take less, a hub's some seconds."""


def check_outputs(model: Model, outputs: frozenset[Output]) -> None:
    """
    Refuse kinds of vectors that a model does not have.

    Raises:
        OutputNotOffered: If one is asked for.
    """
    for output in sorted(outputs - model.outputs, key=lambda each: each.value):
        raise OutputNotOffered(
            output=output.value,
            model=model.name,
            offered=", ".join(sorted(each.value for each in model.outputs)),
        )


def resolve_dimension(model: Model, dimension: int | None) -> int:
    """
    Choose the dimension of the result.

    Raises:
        DimensionNotOffered: If the model has no such dimension.
    """
    if dimension is None:
        return model.default_dimension
    if dimension not in model.dimensions:
        raise DimensionNotOffered(
            dimension=dimension, model=model.name, offered=str(model.dimensions)
        )
    return dimension


def distinct(texts: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """
    Leave out repeated texts.

    Returns:
        The distinct texts in order of first appearance, and for each text of the input the
        position of its equal among them, shape ``(texts,)``.
    """
    positions: dict[str, int] = {}
    inverse = [positions.setdefault(text, len(positions)) for text in texts]
    return list(positions), np.asarray(inverse, dtype=np.intp)


def not_served(model: Model) -> ModelNotServed:
    """Say that no weights are deployed for a model."""
    own = weights_to_pull(model.name)
    cure = f": run `milvane models pull {model.name}`, and deploy what it names" if own else ""
    return ModelNotServed(f"{model.name} is in the catalogue, but no weights here serve it{cure}")


def not_loaded(
    weights: WeightsName, model: Model, loading: Container[WeightsName]
) -> UpstreamUnavailable:
    """Say that the weights of a model are not running; `loading` are those that soon will."""
    if weights in loading:
        return StillLoading(
            f"the weights {weights!r} of {model.name} are still being loaded: "
            "try again in a moment",
            retry_after_s=_LOADING_RETRY_S,
        )
    return UpstreamUnavailable(
        f"the weights {weights!r} of {model.name} are not loaded: `milvane models load {weights}` "
        f"if they were unloaded, `milvane models pull {weights}` and a restart if they are not here"
    )


async def in_time(work: Coroutine[Any, Any, _T], time_left_s: float | None) -> _T:
    """
    Wait for work no longer than the caller does, also where it waits for another request.

    Raises:
        DeadlineExceeded: If the caller's time is over first.
    """
    if time_left_s is None:
        return await work
    try:
        return await asyncio.wait_for(work, max(time_left_s, 0))
    except asyncio.TimeoutError as error:
        raise DeadlineExceeded("the deadline passed before all was embedded") from error
