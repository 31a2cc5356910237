"""What is kept: objects, by names that are never paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from milvane.media.errors import BadBucketName, BadObjectName

MAX_KEY_BYTES = 1023
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# XML 1.0, in which names are listed, has no way to write these.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is, or may come to be: a tenant's bucket, and the key in it."""

    tenant: str
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """What follows from the bytes."""

    size_bytes: int
    sha256: str
    md5: str
    """In lower-case hexadecimal digits."""
    crc64: int
    """CRC-64/XZ, which OSS calls ECMA."""


@dataclass(frozen=True, slots=True)
class MediaObject:
    """An object whose content is complete."""

    place: Place
    content: ContentFacts
    content_type: str
    modified_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    """What its owner wants to be told with it, by names in lower case."""


def check_bucket(name: str) -> str:
    """
    Take a text as the name of a bucket.

    Raises:
        BadBucketName: If it is none, by OSS's rules.
    """
    if not _BUCKET.fullmatch(name):
        raise BadBucketName(
            f"{name[:80]!r} names no bucket: 3 to 63 lower-case letters, digits and hyphens, "
            "none at the ends"
        )
    return name


def check_key(key: str) -> str:
    """
    Take a text as the name of an object; dots and slashes in it mean nothing here.

    Raises:
        BadObjectName: If it is none, by OSS's rules.
    """
    if not 1 <= len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY_BYTES:
        raise BadObjectName(f"an object's name has 1 to {MAX_KEY_BYTES} bytes in UTF-8")
    if key.startswith(("/", "\\")):
        raise BadObjectName("an object's name begins with neither a slash nor a backslash")
    if _UNWRITABLE.search(key) or (not key.isascii() and not _is_utf8(key)):
        raise BadObjectName("an object's name has no control characters")
    return key


def _is_utf8(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
