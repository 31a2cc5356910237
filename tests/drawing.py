"""
Draws pictures and short videos that tests need: fruit on a cloth, as JPEG, PNG or MP4.

Drawn in another way than what the embedded tower was trained on (`training/embedded_pictures`).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import av
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

YELLOW: Colour = (247, 205, 53)
GREEN: Colour = (120, 170, 60)
ORANGE: Colour = (240, 132, 20)
LINEN: Colour = (232, 226, 214)
SLATE: Colour = (74, 82, 92)
WHITE: Colour = (255, 255, 255)

_FINE = 4
"""Things are drawn this many times larger, and then reduced."""


def draw_banana(side: int = 200, colour: Colour = YELLOW) -> Image.Image:
    """Draw one banana: what a disc leaves of another one, with ridges and two dark ends."""
    whole = side * _FINE
    outer, inner = Image.new("L", (whole, whole)), Image.new("L", (whole, whole))
    ImageDraw.Draw(outer).ellipse(_box(whole, 0.5, 0.30, 0.47), fill=255)
    ImageDraw.Draw(inner).ellipse(_box(whole, 0.5, 0.10, 0.50), fill=255)
    shape = ImageChops.subtract(outer, inner)
    fruit = Image.new("RGB", (whole, whole), colour)
    draw = ImageDraw.Draw(fruit)
    for reach, strength in ((0.455, 0.78), (0.43, 0.9), (0.40, 1.08)):
        ridge = tuple(min(255, int(part * strength)) for part in colour)
        draw.arc(_box(whole, 0.5, 0.29, reach), 20, 160, fill=ridge, width=whole // 60)
    for x in (0.06, 0.94):
        draw.ellipse(_box(whole, x, 0.37, 0.055), fill=(78, 58, 30))
    fruit.putalpha(shape)
    return fruit.resize((side, side), Image.Resampling.LANCZOS)


def draw_orange(side: int = 200, colour: Colour = ORANGE) -> Image.Image:
    """Draw one orange: a disc that gets darker outwards, with a green star where it hung."""
    gradient = Image.radial_gradient("L").resize((side, side))
    dark = tuple(int(part * 0.7) for part in colour)
    fruit = Image.composite(
        Image.new("RGB", (side, side), dark),
        Image.new("RGB", (side, side), colour),
        gradient.point(lambda level: min(255, level)),
    )
    draw = ImageDraw.Draw(fruit)
    for at in range(90):  # pores
        angle, reach = at * 2.399963, math.sqrt(at / 90) * side * 0.44
        x, y = side / 2 + reach * math.cos(angle), side / 2 + reach * math.sin(angle)
        draw.point((x, y), fill=dark)
    star = [
        (
            side * (0.5 + (0.06 if at % 2 else 0.02) * math.cos(at * math.pi / 5)),
            side * (0.16 + (0.05 if at % 2 else 0.02) * math.sin(at * math.pi / 5)),
        )
        for at in range(10)
    ]
    draw.polygon(star, fill=(70, 110, 40))
    shape = Image.new("L", (side * _FINE, side * _FINE))
    ImageDraw.Draw(shape).ellipse(_box(side * _FINE, 0.5, 0.5, 0.47), fill=255)
    fruit.putalpha(shape.resize((side, side), Image.Resampling.LANCZOS))
    return fruit


def draw_bananas(count: int = 1, *, ground: Colour = LINEN, colour: Colour = YELLOW) -> Image.Image:
    """Draw bananas on a cloth."""
    return _lay(draw_banana, count, ground, colour)


def draw_oranges(count: int = 1, *, ground: Colour = LINEN, colour: Colour = ORANGE) -> Image.Image:
    """Draw oranges on a cloth."""
    return _lay(draw_orange, count, ground, colour)


def as_jpeg(picture: Image.Image, quality: int = 88) -> bytes:
    """Encode a picture as JPEG."""
    written = io.BytesIO()
    picture.convert("RGB").save(written, "JPEG", quality=quality)
    return written.getvalue()


def as_png(picture: Image.Image) -> bytes:
    """Encode a picture as PNG."""
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def pan(picture: Image.Image, frames: int = 12) -> list[Image.Image]:
    """Move a camera slowly over a picture, a frame for each step."""
    wide, high = picture.width * 4 // 5, picture.height * 4 // 5
    last = max(1, frames - 1)
    shown = []
    for at in range(frames):
        x = (picture.width - wide) * at // last
        y = (picture.height - high) * at // last
        shown.append(picture.crop((x, y, x + wide, y + high)))
    return shown


def write_video(path: Path, frames: Sequence[Image.Image], rate: int = 6) -> Path:
    """
    Write frames of one size as an MP4 video.

    Args:
        path: Ends with ``.mp4``, or another suffix of a container that takes MPEG-4.

        frames: At least one; their width and height should be even.

        rate: Frames of a second.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = frames[0].width // 2 * 2, frames[0].height // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for frame in frames:
            shown = frame.convert("RGB").crop((0, 0, stream.width, stream.height))
            for packet in stream.encode(av.VideoFrame.from_image(shown)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def _box(side: int, x: float, y: float, reach: float) -> tuple[float, float, float, float]:
    return ((x - reach) * side, (y - reach) * side, (x + reach) * side, (y + reach) * side)


def _lay(
    draw: Callable[[int, Colour], Image.Image], count: int, ground: Colour, colour: Colour
) -> Image.Image:
    """Lay fruit on a woven cloth, with soft shadows, each a little turned."""
    cloth = _weave(ground, (480, 360))
    columns = min(3, count)
    rows = math.ceil(count / columns)
    side = min(480 // columns, 360 // rows) * 9 // 10
    for at in range(count):
        fruit = draw(side, colour).rotate(25 - 40 * (at % 3), Image.Resampling.BICUBIC)
        in_row = min(columns, count - at // columns * columns)
        x = (480 - in_row * side) // 2 + at % columns * side
        y = (360 - rows * side) // 2 + at // columns * side
        shadow = Image.new("RGBA", fruit.size, (0, 0, 0, 0))
        shadow.putalpha(fruit.getchannel("A").point(lambda level: level * 2 // 5))
        shadow = shadow.filter(ImageFilter.GaussianBlur(side / 40))
        cloth.paste(shadow, (x + side // 30, y + side // 20), shadow)
        cloth.paste(fruit, (x, y), fruit)
    return cloth


def _weave(ground: Colour, size: tuple[int, int]) -> Image.Image:
    cloth = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(cloth)
    darker = tuple(part * 94 // 100 for part in ground)
    for x in range(0, size[0], 6):
        draw.line((x, 0, x, size[1]), fill=darker)
    for y in range(0, size[1], 6):
        draw.line((0, y, size[0], y), fill=darker)
    return cloth
