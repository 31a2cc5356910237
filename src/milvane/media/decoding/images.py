"""
Images, with Pillow: only ever in a process of their own.

Pixels come out as the usual processors of Hugging Face make them from the same file: decoded in
full, turned as the camera says, in red, green and blue, and resized by Pillow itself. One thing is
done for them: what is transparent is put on white, where they would show what lies below.
"""

from __future__ import annotations

import io
import warnings
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from milvane.domain.pictures import Filter, Fit, Sizing
from milvane.media.decoding.exchange import DecodingLimits, Found

_FILTERS = {
    Filter.BILINEAR: Image.Resampling.BILINEAR,
    Filter.BICUBIC: Image.Resampling.BICUBIC,
    Filter.LANCZOS: Image.Resampling.LANCZOS,
}
_ORIENTATION, _WIDTH, _HEIGHT = 0x0112, 0x0100, 0x0101
_LONGEST_SHAPE = 64
_MAX_EXIF_BYTES = 1024 * 1024
_TURNED = (5, 6, 7, 8)
"""Orientations of EXIF that exchange width and height."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """The file cannot be decoded; the message says why, for the caller."""


def look(file: BinaryIO, decoder: str, limits: DecodingLimits) -> Found:
    """
    Read what an image says of itself; no pixel is decoded.

    Raises:
        Unreadable: If it is damaged, or too large.
    """
    with _open(file, decoder, limits) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # whose size Pillow may have turned already
            width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        if _orientation(image, file) in _TURNED:
            width, height = height, width
    return Found(width, height, frames=1, duration_s=0.0)


def decode(
    file: BinaryIO, decoder: str, sizing: Sizing, limits: DecodingLimits
) -> NDArray[np.uint8]:
    """
    Decode an image, its first one where there are several.

    Returns:
        Shape ``(height, width, 3)``.

    Raises:
        Unreadable: If it is damaged, or too large.
    """
    with _open(file, decoder, limits) as image:
        orientation = _orientation(image, file)
        image.load()
        turn = None if isinstance(image, TiffImageFile) else _TURNS.get(orientation)
        turned = image if turn is None else image.transpose(turn)
        return np.asarray(resize(to_rgb(turned), sizing))


def _orientation(image: Image.Image, file: BinaryIO) -> int:
    """Say how the camera was held, from 1 to 8; no pixel is decoded."""
    if image.format == "PNG":  # which Pillow decodes as a whole to find out
        exif = Image.Exif()
        exif.load(_png_exif(file))
    else:
        exif = image.getexif()
    told = exif.get(_ORIENTATION)
    return told if isinstance(told, int) else 1


def _png_exif(file: BinaryIO) -> bytes:
    """Find the chunk of EXIF, which may stand anywhere; the file stays where it was."""
    place = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            if name == b"eXIf" and length <= _MAX_EXIF_BYTES:
                return b"Exif\0\0" + file.read(length)
            file.seek(length + 4, io.SEEK_CUR)
    finally:
        file.seek(place)
    return b""


def _open(file: BinaryIO, decoder: str, limits: DecodingLimits) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None  # said in our own words instead
    try:
        image = Image.open(file, formats=(decoder,))
    except UnidentifiedImageError as error:
        raise Unreadable(f"it is damaged: it begins as {decoder}, and does not go on so") from error
    check_size(*image.size, limits)
    Image.MAX_IMAGE_PIXELS = limits.max_pixels  # for the images within images, as ICO has them
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return image


def check_size(width: int, height: int, limits: DecodingLimits) -> None:
    """
    Hold a picture to its size.

    Raises:
        Unreadable: If it is larger, or empty.
    """
    if width < 1 or height < 1:
        raise Unreadable("it has no pixels")
    if width * height > limits.max_pixels:
        raise Unreadable(
            f"it has {width} x {height} pixels, and at most {limits.max_pixels} are decoded"
        )


def to_rgb(image: Image.Image) -> Image.Image:
    """Make red, green and blue of whatever the pixels are."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_depth(image).convert("RGB")
    if "A" in image.getbands() or "a" in image.mode or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = Image.new("RGB", clear.size, (255, 255, 255))
        white.paste(clear, mask=clear.getchannel("A"))
        return white
    return image.convert("RGB")


def _from_depth(image: Image.Image) -> Image.Image:
    """Make 8 bits of more: of 16 the upper ones; whatever fits into 8 is left as it is."""
    pixels = np.asarray(image).astype(np.float64)
    if image.mode.startswith("I;16") or pixels.max(initial=0) > 255:
        pixels = pixels / 257.0
    return Image.fromarray(np.clip(np.nan_to_num(pixels), 0, 255).round().astype(np.uint8))


def resize(image: Image.Image, sizing: Sizing) -> Image.Image:
    """Bring an image into the size that a network wants."""
    wanted = sizing.size_of(*image.size)
    return resize_to(image, wanted, sizing)


def resize_to(image: Image.Image, wanted: tuple[int, int], sizing: Sizing) -> Image.Image:
    """Bring an image into a size, in the way that a network wants."""
    resample = _FILTERS[sizing.filter]
    if sizing.fit is Fit.COVER:
        side = min(wanted)
        image = _shorten(image)
        width, height = image.size
        # As CLIP's processor: the shorter side exactly, the longer one cut to whole pixels.
        wide, high = (
            (side, int(side * height / width))
            if width <= height
            else (
                int(side * width / height),
                side,
            )
        )
        scaled = image.resize((wide, high), resample)
        left, top = (wide - side) // 2, (high - side) // 2
        return scaled.crop((left, top, left + side, top + side))
    if sizing.fit is Fit.CONTAIN:
        return _contain(image, wanted, resample)
    return image.resize(wanted, resample)


def _shorten(image: Image.Image) -> Image.Image:
    """Cut the ends off what is so long that it would be huge before they are cut off anyway."""
    longest = _LONGEST_SHAPE * min(image.size)
    if max(image.size) <= longest:
        return image
    left, top = max(0, image.width - longest) // 2, max(0, image.height - longest) // 2
    return image.crop((left, top, image.width - left, image.height - top))


def _contain(
    image: Image.Image, wanted: tuple[int, int], resample: Image.Resampling
) -> Image.Image:
    side_wide, side_high = wanted
    scale = min(side_wide / image.width, side_high / image.height)
    wide = min(side_wide, max(1, round(image.width * scale)))
    high = min(side_high, max(1, round(image.height * scale)))
    scaled = np.asarray(image.resize((wide, high), resample))
    left, top = (side_wide - wide) // 2, (side_high - high) // 2
    margins = ((top, side_high - high - top), (left, side_wide - wide - left), (0, 0))
    return Image.fromarray(np.pad(scaled, margins, mode="edge"))
