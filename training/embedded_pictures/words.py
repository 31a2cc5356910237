"""Words for what is drawn: colours, numbers, plurals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOURS = {
    "red": (214, 40, 40),
    "orange": (245, 133, 24),
    "yellow": (250, 208, 44),
    "green": (62, 160, 66),
    "blue": (42, 98, 205),
    "purple": (130, 60, 170),
    "pink": (244, 132, 178),
    "brown": (128, 80, 44),
    "black": (32, 32, 34),
    "white": (244, 244, 242),
    "gray": (136, 138, 140),
    "turquoise": (48, 190, 190),
}

NUMBERS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_HUES = (
    (12, "red"),
    (38, "orange"),
    (68, "yellow"),
    (165, "green"),
    (195, "turquoise"),
    (255, "blue"),
    (295, "purple"),
    (342, "pink"),
    (361, "red"),
)


def article(noun: str) -> str:
    """Put the indefinite article in front."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """Say more than one of something."""
    head, of, rest = noun.partition(" of ")
    if of:
        return f"{plural(head)} of {rest}"
    if noun.endswith(("s", "sh", "ch", "x", "to")):
        return f"{noun}es" if not noun.endswith("s") or noun.endswith("ss") else noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def vary(colour: tuple[int, int, int], random: np.random.Generator) -> NDArray[np.float32]:
    """Take a colour near a named one."""
    near = np.array(colour) * random.uniform(0.85, 1.12) + random.normal(0, 8, 3)
    return np.clip(near, 0, 255).astype(np.float32)


def name_colour(pixels: NDArray[np.uint8]) -> str | None:
    """
    Name the colour that most of a drawing has.

    Args:
        pixels: Shape ``(..., 4)``.

    Returns:
        None if no colour has most of it.
    """
    flat = pixels.reshape(-1, 4)
    shown = flat[flat[:, 3] > 128][:, :3].astype(np.float32)
    if len(shown) < 50:
        return None
    votes: dict[str, int] = {}
    for name, share in _name_pixels(shown):
        votes[name] = votes.get(name, 0) + share
    best = max(votes, key=lambda name: votes[name])
    return best if votes[best] > 0.55 * len(shown) else None


def _name_pixels(shown: NDArray[np.float32]) -> list[tuple[str, int]]:
    high, low = shown.max(1), shown.min(1)
    span = np.maximum(high - low, 1e-3)
    red, green, blue = shown.T
    hue = np.where(
        high == red,
        (green - blue) / span % 6,
        np.where(high == green, (blue - red) / span + 2, (red - green) / span + 4),
    )
    hue *= 60
    is_gray = span < 0.18 * np.maximum(high, 40)
    is_dark = high < 60
    is_brown = ~is_gray & ~is_dark & (hue < 45) & (high < 175) & (hue > 10)
    found = [
        ("black", int(is_dark.sum())),
        ("white", int((is_gray & ~is_dark & (high > 215)).sum())),
        ("gray", int((is_gray & ~is_dark & (high <= 215)).sum())),
        ("brown", int(is_brown.sum())),
    ]
    coloured = ~(is_gray | is_dark | is_brown)
    start = 0
    for end, name in _HUES:
        found.append((name, int((coloured & (hue >= start) & (hue < end)).sum())))
        start = end
    return found
