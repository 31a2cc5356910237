"""
Whether a value is a text, or says where an image or a video is to be had.

Pure, and decided by the form of the whole value alone: a text that merely contains an address stays
a text. What an address holds is known only once somebody has looked: see `media`.
"""

from __future__ import annotations

import re

from milvane.domain.contents import MediaPart, Part

_SCHEMES = ("http", "https", "data", "oss", "s3")
"""In which media are named; `file` and paths are not among them."""

_LONGEST_SCHEME = max(map(len, _SCHEMES)) + len("://")

# Letters of all languages may stand in an address unescaped, their punctuation may not: it ends
# sentences that are written without spaces.
_CHARACTER = r"[\w!#$%&'()*+,\-./:;=?@\[\]~]"
_HOST = r"[\w\-.\[\]:%]"
_ADDRESS = re.compile(rf"https?://(?:[^\s/?#@]*@)?{_HOST}+(?:[/?#]{_CHARACTER}*)?", re.IGNORECASE)
_OBJECT = re.compile(r"(?:oss|s3)://[^\s/?#]+/\S[^\r\n]*", re.IGNORECASE)
_DATA = re.compile(
    r"data:(?:"
    r"(?:image|video)/[\w.+\-]+(?:;[^;,\s]+)*"  # of a type that says it, however it is encoded
    r"|(?:[\w.+\-]+/[\w.+\-]+)?(?:;[\w.+\-]+=[^;,\s]*)*;base64"  # of any, in a code no text is in
    r"),",
    re.IGNORECASE,
)


def read_part(value: str) -> Part:
    """
    Take a value as media if the whole of it, but for white space around it, is one address.

    An address is one of ``http(s)://`` with a host, of an object in a store (``oss://``, ``s3://``)
    or a ``data:`` URI. Whether it may be fetched is not decided here.

    Returns:
        The media, without the white space; or the value as it is.
    """
    head = value.lstrip()[:_LONGEST_SCHEME].lower()
    scheme, colon, _ = head.partition(":")
    if not colon or scheme not in _SCHEMES:
        return value
    source = value.strip()
    if scheme == "data":
        return MediaPart(source) if _DATA.match(source) else value
    form = _OBJECT if scheme in ("oss", "s3") else _ADDRESS
    return MediaPart(source) if form.fullmatch(source) else value
