"""
Pictures: decoded images and videos, and how large a model wants to see them.

Pure arithmetic over sizes and frame numbers; the pixels themselves are made by `media`, in a
process of its own, and read by `inference`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as a model is to see it."""

    pixels: NDArray[np.uint8]
    """Red, green, blue; shape ``(height, width, 3)``."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of a video as a model is to see them, in order."""

    frames: NDArray[np.uint8]
    """Red, green, blue; shape ``(frames, height, width, 3)``."""
    times_s: tuple[float, ...]
    """When each frame is shown, from the beginning of the video."""


Seen: TypeAlias = Picture | Clip


class Fit(Enum):
    """How a picture of any shape comes into the shape that a network takes."""

    GRID = "grid"
    """Keep the proportions; round both sides to a grid, and keep the area within bounds."""
    STRETCH = "stretch"
    """Make it a square, whatever becomes of the proportions."""
    COVER = "cover"
    """Make the shorter side fit a square, and cut off what juts out on both ends."""
    CONTAIN = "contain"
    """Make the longer side fit a square, and fill up with the picture's own edge colours."""


class Filter(Enum):
    """How pixels are computed when a size changes; as Pillow names them."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


@dataclass(frozen=True, slots=True)
class Sizing:
    """In which size a network wants a picture."""

    fit: Fit
    filter: Filter = Filter.BICUBIC
    side: int = 0
    """Of the square, in pixels; for all fits but the grid."""
    step: int = 0
    """Of the grid, in pixels."""
    min_pixels: int = 0
    max_pixels: int = 0
    """Of the whole picture, on a grid."""

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Say the width and height that a picture ends with, in pixels."""
        if self.fit is not Fit.GRID:
            return self.side, self.side
        return fit_to_grid(
            width,
            height,
            step=self.step,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
        )


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video a network wants, and in which size."""

    sizing: Sizing
    """Of each frame; on a grid, its bounds of pixels are those of all frames together."""
    fps: float
    """Frames per second of the video's time."""
    min_frames: int
    max_frames: int
    multiple: int = 1
    """The number of frames is a multiple of this, as far as the video has so many."""
    frame_min_pixels: int = 0
    """Of each frame, on a grid, whatever that comes to for all together; 0 for no such bound."""
    frame_max_pixels: int = 0
    """Of each frame, on a grid, however few there are; 0 for no such bound."""

    def choose(self, frames: int, source_fps: float) -> tuple[int, ...]:
        """
        Choose frames evenly over the whole of a video.

        Args:
            frames: That it has, at least 1.

            source_fps: Of the video itself; where it is 0, one frame counts as one second.

        Returns:
            Their numbers from 0, ascending.
        """
        seconds = frames / source_fps if source_fps > 0 else float(frames)
        wanted = int(min(seconds * self.fps, self.max_frames))
        wanted = min(max(wanted, self.min_frames), frames)
        wanted = max(wanted // self.multiple * self.multiple, min(self.multiple, frames), 1)
        places = np.linspace(0, frames - 1, wanted).round().astype(int)
        return tuple(int(place) for place in places)

    def size_of(self, width: int, height: int, frames: int) -> tuple[int, int]:
        """Say the width and height of each of so many frames, in pixels."""
        sizing = self.sizing
        if sizing.fit is not Fit.GRID:
            return sizing.size_of(width, height)
        smallest = max(sizing.min_pixels // max(frames, 1), self.frame_min_pixels)
        largest = sizing.max_pixels // max(frames, 1)
        if self.frame_max_pixels:
            largest = min(largest, self.frame_max_pixels)
        # Room to round: as the published code of Qwen2-VL has it.
        largest = max(largest, int(self.frame_min_pixels * 1.05))
        return fit_to_grid(width, height, step=sizing.step, min_pixels=smallest, max_pixels=largest)


@dataclass(frozen=True, slots=True)
class Viewing:
    """How a network wants to see what it embeds; part of what its vectors depend on."""

    picture: Sizing
    clip: Sampling | None = None
    """Absent where it takes no videos."""


def fit_to_grid(
    width: int, height: int, *, step: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """
    Round both sides to a grid, keeping proportions and an area within bounds as well as that goes.

    The arithmetic of ``smart_resize`` in the published code of Qwen2-VL.

    Returns:
        Width and height, multiples of `step`, at least one step each.
    """
    wide = max(step, round(width / step) * step)
    high = max(step, round(height / step) * step)
    if wide * high > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        wide = max(step, math.floor(width / shrink / step) * step)
        high = max(step, math.floor(height / shrink / step) * step)
    elif wide * high < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        wide = math.ceil(width * grow / step) * step
        high = math.ceil(height * grow / step) * step
    return wide, high
