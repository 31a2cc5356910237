"""Long texts: windows cover them, and their vectors make one."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from milvane.inference.windowing import combine_windows, split_windows

WINDOW = 254


@given(st.integers(0, 100_000), st.integers(1, 600))
@example(0, WINDOW)
@example(WINDOW, WINDOW)
@example(WINDOW + 1, WINDOW)
@example(2 * WINDOW, WINDOW)
@example(2 * WINDOW + 1, WINDOW)
def test_windows_cover_a_text_evenly(tokens: int, window: int) -> None:
    """Windows join without gap or overlap, are as few as can be, and differ by at most 1."""
    windows = split_windows(tokens, window)
    edges = [0, *(part.stop for part in windows)]
    assert [part.start for part in windows] == edges[:-1]
    assert edges[-1] == tokens
    sizes = [part.stop - part.start for part in windows]
    assert max(sizes) <= window
    assert max(sizes) - min(sizes) <= 1
    assert len(windows) == 1 or (len(windows) - 1) * window < tokens


@given(st.lists(st.lists(st.integers(0, 254), min_size=1, max_size=4), min_size=1, max_size=5))
@example([[3]])
@example([[0]])
@example([[254, 253], [5]])
def test_text_is_the_weighted_mean_of_its_windows(texts: list[list[int]]) -> None:
    """Each text's vector is the mean direction of its own windows, by their length."""
    counts = [len(windows) for windows in texts]
    lengths = np.array([length for windows in texts for length in windows], np.int64)
    random = np.random.default_rng(len(lengths))
    pooled = (1 + random.random((len(lengths), 6)) * 9).astype(np.float32)
    combined = combine_windows(pooled, lengths, counts)
    assert combined.dtype == np.float32
    start = 0
    for row, count in enumerate(counts):
        directions = pooled[start : start + count].astype(np.float64)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        mean = np.maximum(lengths[start : start + count], 1) @ directions
        np.testing.assert_allclose(combined[row], mean / np.linalg.norm(mean), atol=1e-5)
        start += count
