"""Pieces of work beside each other, of which some may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from milvane.domain.errors import ErrorKind, InvalidInput, MediaRejected, ServiceError

_T = TypeVar("_T")

_OWN = frozenset(
    {
        ErrorKind.INVALID_INPUT,
        ErrorKind.NOT_FOUND,
        ErrorKind.PERMISSION_DENIED,
        ErrorKind.MEDIA_REJECTED,
    }
)


def is_own(error: BaseException) -> bool:
    """Say whether a failure is that of one input, and not of the service."""
    return isinstance(error, ServiceError) and error.kind in _OWN


@contextmanager
def naming(index: int, part: int | None = None) -> Iterator[None]:
    """Say of a failure in the context which input of the request it concerns, and which part."""
    try:
        yield
    except (InvalidInput, MediaRejected) as error:
        if error.index is None:
            error.index = index
            place = f"input {index}" if part is None else f"input {index}, part {part}"
            error.message = f"{place}: {error.message}"
            error.args = (error.message,)
        raise


async def every_outcome(
    work: Sequence[Coroutine[Any, Any, _T]], *, goes_on: bool
) -> list[_T | ServiceError]:
    """
    Do pieces of work beside each other; all have ended when this returns or raises.

    Args:
        work: Each piece.

        goes_on: Whether the others go on when one fails for a reason of its own, see `is_own`; such
            a failure is an outcome then.

    Returns:
        What each piece came to, in order.

    Raises:
        ServiceError: The first failure that ends it all; what was under way is cancelled.
    """
    tasks = [asyncio.create_task(piece) for piece in work]
    try:
        return list(await asyncio.gather(*(_outcome(task, goes_on=goes_on) for task in tasks)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _outcome(task: asyncio.Task[_T], *, goes_on: bool) -> _T | ServiceError:
    try:
        return await task
    except ServiceError as error:
        if goes_on and is_own(error):
            return error
        raise
