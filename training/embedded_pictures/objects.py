"""Shaded things drawn by a program: fruit, shapes and grounds, each with the word for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from words import COLOURS

Random = np.random.Generator

SIDE = 128
"""Pixels that a thing is drawn at, before it is put into a scene."""


def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    places = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE * 2 - 1
    return np.meshgrid(places, places)


_X, _Y = _grid()


def _shade(
    inside: NDArray[np.float32],
    height: NDArray[np.float32],
    colour: NDArray[np.float32],
    random: Random,
) -> Image.Image:
    """Light a surface from one side: `inside` is how much of a pixel it covers."""
    angle = random.uniform(0, 2 * np.pi)
    slope_y, slope_x = np.gradient(height)
    light = 0.85 + SIDE / 8 * (slope_x * np.cos(angle) + slope_y * np.sin(angle))
    light = np.clip(light * random.uniform(0.85, 1.1), 0.35, 1.25)[..., None]
    pixels = np.clip(colour * light, 0, 255)
    if random.random() < 0.6:
        spot_x, spot_y = np.cos(angle) * 0.35, np.sin(angle) * 0.35
        gleam = np.exp(-((_X - spot_x) ** 2 + (_Y - spot_y) ** 2) * random.uniform(15, 50))
        pixels += (255 - pixels) * (gleam * random.uniform(0.2, 0.8))[..., None]
    pixels += random.normal(0, random.uniform(0, 7), (SIDE, SIDE, 1))
    alpha = np.clip(inside, 0, 1) * 255
    return Image.fromarray(np.dstack([np.clip(pixels, 0, 255), alpha]).astype(np.uint8), "RGBA")


def _soft(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a distance to the outline (negative inside) into coverage."""
    return np.clip(0.5 - distance * SIDE / 2, 0, 1)


def _ball(colour: NDArray[np.float32], random: Random, *, wide: float, high: float) -> Image.Image:
    radius = np.sqrt((_X / wide) ** 2 + (_Y / high) ** 2)
    dome = np.sqrt(np.clip(1 - radius**2, 0, 1)) * 0.5
    return _shade(_soft((radius - 1) * min(wide, high)), dome, colour, random)


def _stalk(picture: Image.Image, random: Random, *, leaf: float) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    top = SIDE // 2 - int(0.42 * SIDE)
    lean = int(random.integers(-8, 9))
    draw.line((SIDE // 2, top + 12, SIDE // 2 + lean, top - 6), fill=(90, 62, 36, 255), width=4)
    if random.random() < leaf:
        side = int(random.choice((-1, 1)))
        ends = sorted((SIDE // 2, SIDE // 2 + side * 34))
        draw.ellipse((ends[0], top - 8, ends[1], top + 8), fill=(70, 140, 50, 255))
    return picture


def orange(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw a round fruit with pores."""
    pores = random.normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    dome = np.sqrt(np.clip(1 - (_X**2 + _Y**2) / 0.72, 0, 1)) * 0.5
    inside = _soft(np.sqrt(_X**2 + _Y**2) - 0.84)
    picture = _shade(inside, dome + pores * 0.002, colour, random)
    return _stalk(picture, random, leaf=0.4) if random.random() < 0.5 else picture


def apple(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw a round fruit with a hollow at the stalk."""
    angle = np.arctan2(_X, -_Y)
    reach = 0.8 - 0.16 * np.exp(-((angle / 0.35) ** 2)) + 0.04 * np.cos(2 * angle)
    radius = np.sqrt(_X**2 + _Y**2) / reach
    dome = np.sqrt(np.clip(1 - radius**2, 0, 1)) * 0.5
    return _stalk(_shade(_soft((radius - 1) * 0.8), dome, colour, random), random, leaf=0.6)


def lemon(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw an oval fruit with two tips."""
    shape = np.abs(_Y) / (0.55 * np.clip(1 - np.abs(_X / 0.95) ** 2.2, 1e-3, 1) ** 0.6)
    dome = np.sqrt(np.clip(1 - shape**2, 0, 1)) * 0.4
    return _shade(_soft((shape - 1) * 0.5) * (np.abs(_X) < 0.95), dome, colour, random)


def pear(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw a fruit with a narrow top."""
    wide = 0.34 + 0.3 / (1 + np.exp(-(_Y - 0.0) * 7))
    shape = np.sqrt((_X / wide) ** 2 + (_Y / 0.88) ** 2)
    dome = np.sqrt(np.clip(1 - shape**2, 0, 1)) * 0.5
    return _stalk(_shade(_soft((shape - 1) * 0.5), dome, colour, random), random, leaf=0.5)


def banana(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw a bent fruit, thinner at its ends, with a dark tip."""
    bend = random.uniform(0.55, 1.1)
    line = np.linspace(-1, 1, 60)
    along_x, along_y = 0.85 * line, bend * (0.5 - line**2) * 0.75
    thick = random.uniform(0.17, 0.25) * np.clip(1 - np.abs(line) ** 4, 0.18, 1)
    gaps = np.sqrt((_X[..., None] - along_x) ** 2 + (_Y[..., None] - along_y) ** 2)
    distance = gaps - thick
    nearest = distance.argmin(-1)
    shape = np.take_along_axis(gaps, nearest[..., None], -1)[..., 0] / thick[nearest]
    dome = np.sqrt(np.clip(1 - shape**2, 0, 1)) * 0.3
    tips = np.clip((np.abs(line[nearest]) - 0.9) * 8, 0, 0.8)[..., None]
    coat = colour * (1 - tips) + np.array((70, 55, 30), np.float32) * tips
    return _shade(_soft(distance.min(-1)), dome, coat, random)


def grapes(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw a bunch of small balls."""
    picture = Image.new("RGBA", (SIDE, SIDE))
    for row, count in enumerate((4, 5, 4, 3, 2, 1)):
        for at in range(count):
            berry = _ball(colour, random, wide=0.95, high=0.95).resize((26, 26))
            x = SIDE // 2 + int((at - count / 2) * 22 + random.integers(-3, 4))
            picture.alpha_composite(berry, (max(0, x), 8 + row * 18))
    return picture


def cherries(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw two balls on stalks."""
    picture = Image.new("RGBA", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    for x in (34, 88):
        draw.line((x, 84, 68, 10), fill=(70, 120, 50, 255), width=4)
        berry = _ball(colour, random, wide=0.95, high=0.95).resize((52, 52))
        picture.alpha_composite(berry, (x - 26, 70))
    return picture


def ball(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw a smooth ball."""
    return _ball(colour, random, wide=0.9, high=0.9)


def egg(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw an egg."""
    shape = np.sqrt((_X / (0.62 - 0.12 * -_Y)) ** 2 + (_Y / 0.88) ** 2)
    dome = np.sqrt(np.clip(1 - shape**2, 0, 1)) * 0.5
    return _shade(_soft((shape - 1) * 0.6), dome, colour, random)


def _flat(
    points: list[tuple[float, float]], colour: NDArray[np.float32], random: Random
) -> Image.Image:
    mask = Image.new("L", (SIDE * 2, SIDE * 2))
    ImageDraw.Draw(mask).polygon([(SIDE + x * SIDE, SIDE + y * SIDE) for x, y in points], fill=255)
    inside = np.asarray(mask.resize((SIDE, SIDE)), np.float32) / 255
    tilt = (_X * random.normal(0, 0.02) + _Y * random.normal(0, 0.02)).astype(np.float32)
    return _shade(inside, tilt, colour, random)


def _regular(corners: int, inner: float = 1.0) -> Callable[..., Image.Image]:
    def drawn(colour: NDArray[np.float32], random: Random) -> Image.Image:
        steps = corners if inner == 1 else corners * 2
        reach = [0.92 if inner == 1 or at % 2 == 0 else 0.92 * inner for at in range(steps)]
        turn = np.pi / 4 if corners == 4 else -np.pi / 2
        points = [
            (r * np.cos(turn + at * 2 * np.pi / steps), r * np.sin(turn + at * 2 * np.pi / steps))
            for at, r in enumerate(reach)
        ]
        return _flat(points, colour, random)

    return drawn


def circle(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw a disc."""
    inside = _soft(np.sqrt(_X**2 + _Y**2) - 0.9)
    return _shade(inside, np.zeros_like(_X), colour, random)


def ring(colour: NDArray[np.float32], random: Random) -> Image.Image:
    """Draw a ring."""
    inside = _soft(np.abs(np.sqrt(_X**2 + _Y**2) - 0.7) - 0.18)
    return _shade(inside, np.zeros_like(_X), colour, random)


THINGS: dict[str, tuple[Callable[..., Image.Image], tuple[str, ...]]] = {
    "banana": (banana, ("yellow", "yellow", "yellow", "green", "brown")),
    "orange": (orange, ("orange",)),
    "apple": (apple, ("red", "red", "green", "yellow")),
    "lemon": (lemon, ("yellow",)),
    "lime": (lemon, ("green",)),
    "pear": (pear, ("green", "yellow")),
    "bunch of grapes": (grapes, ("purple", "green")),
    "pair of cherries": (cherries, ("red",)),
    "tomato": (apple, ("red",)),
    "peach": (apple, ("pink", "orange")),
    "plum": (ball, ("purple",)),
    "ball": (ball, tuple(COLOURS)),
    "egg": (egg, ("white", "brown")),
    "circle": (circle, tuple(COLOURS)),
    "ring": (ring, tuple(COLOURS)),
    "square": (_regular(4), tuple(COLOURS)),
    "triangle": (_regular(3), tuple(COLOURS)),
    "hexagon": (_regular(6), tuple(COLOURS)),
    "star": (_regular(5, 0.42), tuple(COLOURS)),
}
"""By word: how it is drawn, and the colours that it comes in (each as often as it is listed)."""

FRUIT = ("banana", "orange", "apple", "lemon", "pear")


def smooth_noise(random: Random, side: int, cells: int) -> NDArray[np.float32]:
    """Make noise without sharp edges, from 0 to 1."""
    small = Image.fromarray((random.random((cells, cells)) * 255).astype(np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255


def paint_ground(side: int, colour: NDArray[np.float32], random: Random) -> NDArray[np.float32]:
    """Paint a ground of about one colour: plain, a gradient, blotches or grain."""
    kind = random.integers(4)
    ground = np.broadcast_to(colour, (side, side, 3)).copy()
    if kind == 1:
        ramp = np.linspace(-1, 1, side)[:, None] * random.uniform(0.05, 0.3)
        ramp = ramp if random.random() < 0.5 else ramp.T
        ground *= (1 + ramp * random.choice((-1, 1)))[..., None] * np.ones((side, side, 1))
    elif kind == 2:
        ground *= (0.75 + 0.5 * smooth_noise(random, side, int(random.integers(2, 9))))[..., None]
    elif kind == 3:
        ground += random.normal(0, random.uniform(3, 18), (side, side, 1))
    return np.clip(ground, 0, 255)


def paint_table(side: int, random: Random) -> NDArray[np.float32]:
    """Paint a wooden table below a wall."""
    wall = np.array(list(COLOURS.values())[random.integers(len(COLOURS))]) * 0.4 + 140
    wood = np.array((160, 110, 62)) * random.uniform(0.6, 1.25)
    edge = int(side * random.uniform(0.35, 0.6))
    ground = np.broadcast_to(wall, (side, side, 3)).copy()
    grain = smooth_noise(random, side, 24)[: side // 8].repeat(8, 0)[:side]
    planks = np.zeros((side, side))
    planks[: len(grain)] = grain
    ground[edge:] = wood * (0.8 + 0.4 * planks[edge:, :, None])
    return np.clip(ground, 0, 255)


def soften(pixels: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Blur a ground."""
    picture = Image.fromarray(pixels.astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32)
