"""Images and videos that tests draw for themselves."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from PIL import Image


def shades(width: int = 64, height: int = 48) -> np.ndarray[Any, Any]:
    """Draw a picture whose every part is different."""
    across = np.linspace(0, 255, width)[None, :, None]
    down = np.linspace(0, 255, height)[:, None, None]
    pixels = np.concatenate([across + 0 * down, 0 * across + down, (across + down) / 2], axis=2)
    return pixels.astype(np.uint8)


def drawn_image(
    format_name: str = "PNG", *, width: int = 64, height: int = 48, **options: Any
) -> bytes:
    """Make a file of an image."""
    out = io.BytesIO()
    Image.fromarray(shades(width, height)).save(out, format_name, **options)
    return out.getvalue()


def huge_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """Make a small file whose pixels would take gigabytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    # Black: the same compressed rows again and again, whose checksum (RFC 1950) is a formula.
    rows = next(count for count in (100, 10, 1) if height % count == 0)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    black = squeezer.compress(bytes(rows * (1 + width * 3))) + squeezer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">HH", height * (1 + width * 3) % 65521, 1)
    content = b"\x78\xda" + black * (height // rows) + b"\x03\x00" + checksum
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def grey_frames(count: int, width: int, height: int) -> list[np.ndarray[Any, Any]]:
    """Draw frames of which each is one grey, brighter than the one before."""
    return [
        np.full((height, width, 3), 20 + 200 * place // max(count - 1, 1), np.uint8)
        for place in range(count)
    ]


def drawn_video(
    container: str = "mp4",
    codec: str = "mpeg4",
    *,
    frames: int = 50,
    fps: int = 25,
    width: int = 64,
    height: int = 48,
    gop: int = 12,
    pictures: Sequence[np.ndarray[Any, Any]] | None = None,
) -> bytes:
    """Make a file of a video; of frames that brighten, if none are given."""
    out = io.BytesIO()
    drawn = pictures if pictures is not None else grey_frames(frames, width, height)
    with av.open(out, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        for pixels in drawn:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def sound_file(container: str = "mp4") -> bytes:
    """Make a file with a stream of sound, and no picture."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream: Any = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()
