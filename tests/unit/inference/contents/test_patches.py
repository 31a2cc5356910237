"""How pictures are cut into patches."""

from __future__ import annotations

import numpy as np
import pytest

from milvane.inference.contents.encoders.patches import PatchShape, cut_patches, grid_of

SHAPE = PatchShape(side=2, merge=2, frames=2)


def drawn(frames: int, height: int, width: int) -> np.ndarray:
    """Draw frames in which every byte is another one, as far as that goes."""
    values = np.arange(frames * height * width * 3) % 251
    return values.astype(np.uint8).reshape(frames, height, width, 3)


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_patches_lie_by_squares_that_become_one_token(frames: int) -> None:
    """Four neighbours lie together; in a patch stand channels, frames, rows, columns."""
    video = drawn(frames, 8, 12)
    cut = cut_patches(video, SHAPE, is_clip=True)
    grid = cut.grid
    assert (grid.times, grid.high, grid.wide) == (-(-frames // 2), 4, 6)
    place = 0
    for time in range(grid.times):
        for square_row in range(2):
            for square_column in range(3):
                for row in (2 * square_row, 2 * square_row + 1):
                    for column in (2 * square_column, 2 * square_column + 1):
                        for frame in range(2):
                            shown = video[min(2 * time + frame, frames - 1)]
                            patch = shown[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                            np.testing.assert_array_equal(
                                cut.pixels[place, :, frame], patch.transpose(2, 0, 1)
                            )
                        place += 1
    assert place == grid.patches == len(cut.pixels)


def test_image_is_kept_once() -> None:
    """An image has one frame, whatever a patch of a video spans."""
    cut = cut_patches(drawn(1, 4, 4), SHAPE, is_clip=False)
    assert cut.pixels.shape == (4, 3, 1, 2, 2)
    assert cut.grid == grid_of(4, 4, 1, SHAPE)
    assert cut.grid.tokens(SHAPE) == 1
