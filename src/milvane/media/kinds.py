"""
What bytes are, by how they begin: never by a suffix or by what a server says.

Pure. A kind names the one decoder that may read it, so that no other is ever tried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from milvane.domain.errors import MediaRejected
from milvane.domain.models import Modality

HEAD_BYTES = 4096
"""So many from the beginning decide."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A format that is read."""

    name: str
    modality: Modality
    decoder: str
    """The name of Pillow's plugin, or of FFmpeg's demuxer."""


def _image(name: str, decoder: str | None = None) -> Kind:
    return Kind(name, Modality.IMAGE, decoder or name.upper())


def _video(name: str, decoder: str | None = None) -> Kind:
    return Kind(name, Modality.VIDEO, decoder or name)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _image("jpeg"),
        _image("png"),
        _image("gif"),
        _image("bmp"),
        _image("dib"),
        _image("webp"),
        _image("tiff"),
        _image("ico"),
        _image("icns"),
        _image("sgi"),
        _video("mp4", "mov"),
        _video("mov"),
        _video("matroska"),
        _video("webm", "matroska"),
        _video("avi"),
        _video("flv"),
        _video("mpeg"),
        _video("mpegvideo"),
        _video("mpegts"),
    )
}
"""By the name that `MediaFacts.format` has."""

_OFFERED = (
    "read are images of JPEG, PNG, BMP, WEBP, TIFF, GIF, ICO, DIB, ICNS and SGI, and videos of "
    "MP4, MPEG, MPG, WEBM, AVI, FLV, MKV and MOV"
)

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\1\0", "ico"),
    (b"icns", "icns"),
    (b"\x01\xda", "sgi"),
    (b"FLV\x01", "flv"),
    (b"\0\0\x01\xba", "mpeg"),
    (b"\0\0\x01\xb3", "mpegvideo"),
)
_QUICKTIME = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))
_STILLS = frozenset((b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"crx "))
_DIB_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))

_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive, or a document in one"),
    (b"\x1f\x8b", "a compressed file"),
    (b"BZh", "a compressed file"),
    (b"\xfd7zXZ\0", "a compressed file"),
    (b"\x28\xb5\x2f\xfd", "a compressed file"),
    (b"Rar!", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
    (b"ID3", "a sound"),
    (b"OggS", "a file of Ogg"),
    (b"fLaC", "a sound"),
    (b"\x30\x26\xb2\x75", "a file of Windows Media"),
    (b"8BPS", "a drawing of Photoshop"),
    (b"\0\0\0\x0cjP  ", "an image of JPEG 2000"),
    (b"\xff\x0a", "an image of JPEG XL"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_SVG = re.compile(rb"<svg[\s>]|<!doctype svg", re.IGNORECASE)
_HTML = re.compile(
    rb"<(?:!doctype html|html|head|body|script|title|div|p|h1|meta)\b", re.IGNORECASE
)
_XML = re.compile(rb"\s*<(?:\?xml|[a-z!])", re.IGNORECASE)


def recognise(head: bytes) -> Kind:
    """
    Say what bytes are that begin like this.

    Args:
        head: The first `HEAD_BYTES`, or all where there are fewer.

    Raises:
        MediaRejected: If no image or video that is read begins so; the message says what it is.
    """
    name = _by_beginning(head) or _riff(head) or _boxed(head) or _bitmap(head) or _stream(head)
    if name is None:
        raise MediaRejected(f"it is {_name_other(head)}, not an image or a video: {_OFFERED}")
    return KINDS[name]


def _by_beginning(head: bytes) -> str | None:
    return next((name for start, name in _BEGINNINGS if head.startswith(start)), None)


def _riff(head: bytes) -> str | None:
    if head[:4] not in (b"RIFF", b"RIFX"):
        return None
    return {b"WEBP": "webp", b"AVI ": "avi"}.get(head[8:12])


def _boxed(head: bytes) -> str | None:
    """Recognise ISO media (ISO 14496-12), QuickTime, and Matroska."""
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm" if b"webm" in head[:64] else "matroska"
    box = head[4:8]
    if box == b"ftyp":
        brand = head[8:12]
        if brand in _STILLS:
            return None
        return "mov" if brand == b"qt  " else "mp4"
    return "mov" if box in _QUICKTIME else None


def _bitmap(head: bytes) -> str | None:
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _DIB_HEADERS:
        return "bmp"
    size, planes = int.from_bytes(head[:4], "little"), int.from_bytes(head[12:14], "little")
    if size == 12:
        planes = int.from_bytes(head[8:10], "little")
    return "dib" if size in _DIB_HEADERS and planes == 1 else None


def _stream(head: bytes) -> str | None:
    """Recognise a transport stream: packets of a fixed size that begin with one byte."""
    for start, size in ((0, 188), (4, 192)):
        places = range(start, min(len(head), start + 5 * size), size)
        if len(places) >= 3 and all(head[place] == 0x47 for place in places):
            return "mpegts"
    return None


def _name_other(head: bytes) -> str:
    if not head:
        return "empty"
    named = next((name for start, name in _REFUSED if head.startswith(start)), None)
    if named is not None:
        return named
    if head[4:8] == b"ftyp":
        return "an image of HEIF, AVIF or a camera"
    if head[:4] == b"RIFF":
        return "a sound, or another file of RIFF"
    if _SVG.search(head):
        return "an SVG drawing"
    if _HTML.search(head):
        return "an HTML page"
    if _XML.match(head):
        return "an XML document"
    return "JSON" if head.lstrip()[:1] in (b"{", b"[") else _text_or_other(head)


def _text_or_other(head: bytes) -> str:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not only the last character is cut
            return "something else"
    return "something else" if b"\0" in head else "a text"
