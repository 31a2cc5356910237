"""Texts longer than the network's window: how they are split, and how parts become one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def split_windows(tokens: int, window_tokens: int) -> list[slice]:
    """
    Split a text into as few windows as possible, of nearly equal length.

    Equal windows rather than full ones and a rest: a rest of three tokens has no context.

    Args:
        tokens: Length of the text, without special tokens.

        window_tokens: The most that one window holds, without special tokens.

    Returns:
        Slices that cover the text in order, without overlap, at least one; lengths differ by at
        most 1. A text without tokens is one empty window.
    """
    count = max(1, -(-tokens // window_tokens))
    edges = [index * tokens // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def normalize_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Scale each row to length 1; a row of zeros stays as it is.

    Args:
        vectors: Shape ``(rows, width)``.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny))


def combine_windows(
    vectors: NDArray[np.float32], lengths: NDArray[np.int64], counts: Sequence[int]
) -> NDArray[np.float32]:
    """
    Make one vector per text from those of its windows: the length-weighted mean of directions.

    Args:
        vectors: One row per window, in order, shape ``(windows, width)``; not normalized.

        lengths: Tokens of each window, shape ``(windows,)``.

        counts: Windows of each text, each at least 1; their sum is ``windows``.

    Returns:
        Rows of length 1, shape ``(texts, width)``.
    """
    directions = normalize_rows(vectors)
    if len(counts) == len(directions):
        return directions
    weighted = directions * np.maximum(lengths, 1).astype(np.float32)[:, None]
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    return normalize_rows(np.add.reduceat(weighted, starts, axis=0))
