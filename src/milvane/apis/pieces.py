"""Answers made piece by piece, so that a large one does not hold up the others."""

import asyncio
from collections.abc import Iterator

import numpy as np
import orjson
from numpy.typing import NDArray

VALUES_PER_PIECE = 32_768
"""How many numbers turn into JSON in about a millisecond."""

BYTES_WORTH_A_TURN = 16_384
"""Smaller pieces take less time than the others' turn would."""


async def join_yielding(pieces: Iterator[bytes]) -> bytes:
    """Collect pieces, letting other requests run between them."""
    collected: list[bytes] = []
    for piece in pieces:
        if collected and len(collected[-1]) >= BYTES_WORTH_A_TURN:
            await asyncio.sleep(0)
        collected.append(piece)
    return b"".join(collected)


def render_items(items: Iterator[dict[str, object]], *, per_piece: int) -> Iterator[bytes]:
    """
    Write the items of a JSON list, without its brackets.

    Args:
        items: Their values may be C-contiguous arrays of numbers.

        per_piece: Items that are written at once.

    Returns:
        Pieces that together are the list's content.
    """
    batch: list[dict[str, object]] = []
    is_first = True
    for item in items:
        batch.append(item)
        if len(batch) == per_piece:
            yield _render(batch, is_first=is_first)
            batch, is_first = [], False
    if batch:
        yield _render(batch, is_first=is_first)


def items_per_piece(vectors: NDArray[np.float32]) -> int:
    """Say how many items of one vector each make a piece of about a millisecond."""
    dimension = int(vectors.shape[1])
    return max(1, VALUES_PER_PIECE // max(1, dimension))


def _render(batch: list[dict[str, object]], *, is_first: bool) -> bytes:
    content = orjson.dumps(batch, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return content if is_first else b"," + content
