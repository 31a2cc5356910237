"""What bytes are, by how they begin."""

from __future__ import annotations

import pytest

from drawn_media import drawn_image, drawn_video
from milvane.domain.errors import MediaRejected
from milvane.domain.models import Modality
from milvane.media.kinds import HEAD_BYTES, KINDS, recognise


@pytest.mark.parametrize(
    "name", ["JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "ICO", "ICNS", "SGI"]
)
def test_every_format_of_an_image_is_recognised(name: str) -> None:
    """A file of each format begins as it should."""
    side = 128
    kind = recognise(drawn_image(name, width=side, height=side)[:HEAD_BYTES])
    assert (kind.name, kind.modality) == (name.lower(), Modality.IMAGE)


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [
        ("mp4", "mpeg4", "mp4"),
        ("mov", "mpeg4", "mov"),
        ("matroska", "mpeg4", "matroska"),
        ("webm", "libvpx", "webm"),
        ("avi", "mpeg4", "avi"),
        ("flv", "flv", "flv"),
        ("mpeg", "mpeg2video", "mpeg"),
        ("mpeg1video", "mpeg1video", "mpegvideo"),
        ("mpegts", "mpeg2video", "mpegts"),
    ],
)
def test_every_container_of_a_video_is_recognised(container: str, codec: str, name: str) -> None:
    """A file of each container begins as it should."""
    kind = recognise(drawn_video(container, codec, frames=30)[:HEAD_BYTES])
    assert (kind.name, kind.modality) == (name, Modality.VIDEO)
    assert KINDS[name] is kind


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "an HTML page"),
        (b"  <html><body>", "an HTML page"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<!-- x --><svg >", "an SVG drawing"),
        (b"<?xml version='1.0'?><Error>", "an XML document"),
        (b"%PDF-1.4", "a PDF document"),
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"\0\0\0\x1cftypavif", "an image of HEIF"),
        (b"\0\0\0\x1cftypheic", "an image of HEIF"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a sound"),
        (b"ID3\x03", "a sound"),
        (b"OggS", "a file of Ogg"),
        (b"\x30\x26\xb2\x75\x8e\x66", "Windows Media"),
        (b"\x7fELF", "a program"),
        (b'[{"a": 1}]', "JSON"),
        (b"BM is how many texts begin", "a text"),
        ("Grüße".encode(), "a text"),
        ("é".encode() * 3000, "a text"),
        (b"\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9", "something else"),
        (b"G" + b"\0" * 400, "something else"),
    ],
)
def test_what_is_something_else_is_named(head: bytes, words: str) -> None:
    """What is no image and no video that is read is called by its name."""
    with pytest.raises(MediaRejected, match=words):
        recognise(head[:HEAD_BYTES])
