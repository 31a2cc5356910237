"""How large a model wants to see pictures, and which frames of a video."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvane.domain.pictures import Filter, Fit, Sampling, Sizing, fit_to_grid

GRID = Sizing(Fit.GRID, Filter.BICUBIC, step=32, min_pixels=65_536, max_pixels=1_048_576)
SIDES = st.integers(min_value=1, max_value=20_000)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (640, 480)),
        ((650, 470), (640, 480)),
        ((4000, 3000), (1152, 864)),
        ((50, 40), (288, 256)),
    ],
)
def test_size_on_the_grid(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Sides are rounded to the grid; too large and too small pictures change their size."""
    assert GRID.size_of(*size) == expected


@given(SIDES, SIDES)
def test_grid_keeps_its_bounds(width: int, height: int) -> None:
    """Both sides are on the grid; the area stays below the limit but for one step of a thin one."""
    wide, high = fit_to_grid(width, height, step=32, min_pixels=65_536, max_pixels=1_048_576)
    assert wide % 32 == high % 32 == 0
    assert min(wide, high) >= 32
    assert wide * high <= 1_048_576 or min(wide, high) == 32
    assert wide * high >= 65_536 * 0.9


@pytest.mark.parametrize("fit", [Fit.STRETCH, Fit.COVER, Fit.CONTAIN])
def test_square_is_a_square(fit: Fit) -> None:
    """All other fits end in the network's square."""
    assert Sizing(fit, side=224).size_of(1000, 10) == (224, 224)


@given(
    frames=st.integers(min_value=1, max_value=5_000),
    source_fps=st.floats(min_value=0, max_value=120),
    multiple=st.integers(min_value=1, max_value=2),
)
def test_frames_are_spread_over_the_video(frames: int, source_fps: float, multiple: int) -> None:
    """Chosen frames ascend, begin at the first, stay within the limits and the video."""
    sampling = Sampling(GRID, fps=1, min_frames=2, max_frames=16, multiple=multiple)
    chosen = sampling.choose(frames, source_fps)
    assert list(chosen) == sorted(set(chosen))
    assert chosen[0] == 0
    assert chosen[-1] < frames
    assert 1 <= len(chosen) <= 16
    assert len(chosen) >= min(2, frames)
    assert len(chosen) % multiple == 0 or len(chosen) == frames


def test_frames_of_ten_seconds() -> None:
    """One frame per second of a video is taken, from its first to its last."""
    sampling = Sampling(GRID, fps=1, min_frames=2, max_frames=64)
    assert sampling.choose(250, 25.0) == (0, 28, 55, 83, 111, 138, 166, 194, 221, 249)


def test_frames_share_the_pixels() -> None:
    """The more frames, the smaller each: the limit is that of all together."""
    sampling = Sampling(GRID, fps=1, min_frames=2, max_frames=64)
    wide, high = sampling.size_of(1920, 1080, 8)
    assert wide * high * 8 <= 1_048_576
    assert wide * high * 8 > 1_048_576 * 0.6


def test_each_frame_of_a_video_has_bounds_of_its_own() -> None:
    """A short video is not seen closer than a frame may be, a long one not less close."""
    sizing = Sizing(fit=Fit.GRID, step=32, max_pixels=15_728_640)
    sampling = Sampling(
        sizing=sizing,
        fps=1.0,
        min_frames=4,
        max_frames=64,
        frame_min_pixels=131_072,
        frame_max_pixels=786_432,
    )
    assert sampling.size_of(1920, 1080, 4) == (1152, 640)
    assert sampling.size_of(1920, 1080, 64) == (640, 352)
    wide, high = sampling.size_of(1920, 1080, 1000)
    assert 0.8 * 131_072 <= wide * high <= 1.05 * 131_072
    assert sampling.size_of(64, 48, 4) == (448, 320)
