"""
Pictures cut into the patches that Qwen's vision networks read. Pure.

The order is that of the published image processor of Qwen2-VL: blocks of `merge` by `merge`
patches, which become one token, lie together; in a patch come channels, frames, rows, columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PatchShape:
    """How pixels become patches, and patches tokens."""

    side: int
    """Of a patch, in pixels."""
    merge: int
    """Patches along each side of the square that becomes one token."""
    frames: int
    """Of a video that one patch spans."""

    @property
    def step(self) -> int:
        """Pixels along each side of what becomes one token."""
        return self.side * self.merge


@dataclass(frozen=True, slots=True)
class Grid:
    """Patches along time, height and width."""

    times: int
    high: int
    wide: int

    @property
    def patches(self) -> int:
        """All of them."""
        return self.times * self.high * self.wide

    def tokens(self, shape: PatchShape) -> int:
        """Say what they become."""
        return self.patches // shape.merge**2


@dataclass(frozen=True, slots=True)
class Patches:
    """The pixels of one picture, in the order in which a network reads them."""

    pixels: NDArray[np.uint8]
    """Shape ``(patches, channels, frames of a patch, side, side)``; one frame for an image."""
    grid: Grid


def grid_of(width: int, height: int, frames: int, shape: PatchShape) -> Grid:
    """
    Count the patches of a picture.

    Args:
        width: In pixels, a multiple of the shape's step, as is the height.

        height: In pixels.

        frames: 1 for an image; an odd last one counts as two.

        shape: Of patches.
    """
    return Grid(-(-frames // shape.frames), height // shape.side, width // shape.side)


def cut_patches(frames: NDArray[np.uint8], shape: PatchShape, *, is_clip: bool) -> Patches:
    """
    Cut an image, or the frames of a video, into patches.

    Args:
        frames: Shape ``(frames, height, width, 3)``; both sides multiples of the shape's step.

        shape: Of patches.

        is_clip: A patch of a video spans several frames, and the last one is repeated if they
            do not come out even. That of an image would hold it several times: it is kept once.
    """
    grid = grid_of(frames.shape[2], frames.shape[1], len(frames), shape)
    spanned = shape.frames if is_clip else 1
    if is_clip and (odd := -len(frames) % spanned):
        frames = np.concatenate([frames, np.repeat(frames[-1:], odd, axis=0)])
    blocks = frames.reshape(
        grid.times, spanned,
        grid.high // shape.merge, shape.merge, shape.side,
        grid.wide // shape.merge, shape.merge, shape.side,
        3,
    )  # fmt: skip
    ordered = blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    pixels = np.ascontiguousarray(ordered).reshape(-1, 3, spanned, shape.side, shape.side)
    return Patches(pixels, grid)
