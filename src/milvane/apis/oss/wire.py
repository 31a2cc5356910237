"""Requests as they come, and answers as they go: names, headers and XML of OSS."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from urllib.parse import quote
from xml.sax.saxutils import escape

from starlette.datastructures import Headers

from milvane.media.errors import BadArgument, BadDigest, NotOffered
from milvane.media.objects import MediaObject
from milvane.media.records import Listing
from milvane.media.signing import SignedRequest

MAX_TOLD_BYTES = 8 * 1024
"""Of what an object's owner wants to be told with it."""
MAX_LISTED = 1000
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
_META = "x-oss-meta-"
_SIGNING = frozenset(
    {
        "OSSAccessKeyId",
        "Expires",
        "Signature",
        "x-oss-signature-version",
        "x-oss-credential",
        "x-oss-date",
        "x-oss-expires",
        "x-oss-additional-headers",
        "x-oss-signature",
    }
)
# What is asked for with these would not be done, and clients would take it for done.
_REFUSED_HEADERS = ("x-oss-copy-source", "x-oss-symlink-target", "x-oss-server-side-encryption")


@dataclass(frozen=True, slots=True)
class Span:
    """Some of an object's bytes: from the first to the last, counted from 0."""

    first: int
    last: int


def read_headers(headers: Headers) -> dict[str, str]:
    """Read headers by their names in lower case; those that are there twice, joined."""
    joined: dict[str, str] = {}
    for name, value in headers.items():
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def check_offered(request: SignedRequest, *, allowed: frozenset[str] = frozenset()) -> None:
    """
    Refuse what is not done here, rather than to do something else.

    Raises:
        NotOffered: If the request asks for such a thing.
    """
    more = sorted(set(request.parameters) - _SIGNING - allowed)
    more += [name for name in _REFUSED_HEADERS if name in request.headers]
    if request.headers.get("x-oss-object-acl", "private") not in ("default", "private"):
        more.append("x-oss-object-acl")
    if more:
        raise NotOffered(
            f"{', '.join(more)[:200]} is not implemented here: objects can be put, read, listed "
            "and deleted"
        )


def read_told(headers: Mapping[str, str]) -> dict[str, str]:
    """
    Read what an object's owner wants to be told with it.

    Raises:
        BadArgument: If it is too much.
    """
    told = {
        name: value for name, value in headers.items() if name in _KEPT or name.startswith(_META)
    }
    if sum(len(name) + len(value) for name, value in told.items()) > MAX_TOLD_BYTES:
        raise BadArgument(f"an object's headers may have {MAX_TOLD_BYTES} bytes")
    return told


def read_content_type(headers: Mapping[str, str]) -> str:
    """
    Read what kind of content it is said to be.

    Raises:
        BadArgument: If that is too long.
    """
    content_type = headers.get("content-type", "") or "application/octet-stream"
    if len(content_type) > 255:
        raise BadArgument("a content type has at most 255 characters")
    return content_type


def read_md5(headers: Mapping[str, str]) -> str | None:
    """
    Read the digest that the content must have, in hexadecimal digits.

    Raises:
        BadDigest: If it is none.
    """
    given = headers.get("content-md5")
    if given is None:
        return None
    try:
        digest = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise BadDigest("the Content-MD5 you specified is invalid: it is 16 bytes in base64")
    return digest.hex()


def read_span(header: str | None, size_bytes: int) -> Span | None:
    """Read which bytes are asked for; none where OSS gives all: without a range it understands."""
    match = _RANGE.fullmatch(header or "")
    if match is None or not size_bytes or match.group(0) == "bytes=-":
        return None
    begin, end = match.groups()
    if not begin:
        wanted = min(int(end), size_bytes)
        return Span(size_bytes - wanted, size_bytes - 1) if wanted else None
    first, last = int(begin), min(int(end or size_bytes), size_bytes - 1)
    return Span(first, last) if first <= last else None


def tell_object(found: MediaObject) -> dict[str, str]:
    """Say what is known of an object, in headers."""
    return {
        **{name: value for name, value in found.headers.items() if name in _KEPT},
        **{name: value for name, value in found.headers.items() if name.startswith(_META)},
        **tell_content(found),
        "content-type": found.content_type,
        "last-modified": format_datetime(found.modified_at, usegmt=True),
        "accept-ranges": "bytes",
        "x-oss-object-type": "Normal",
        "x-oss-storage-class": "Standard",
        # It stands beside the console: a page or a picture that somebody uploads runs nothing.
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
    }


def tell_content(found: MediaObject) -> dict[str, str]:
    """Say which content an object has, in headers."""
    content = found.content
    return {
        "etag": f'"{content.md5.upper()}"',
        "content-md5": base64.b64encode(bytes.fromhex(content.md5)).decode(),
        "x-oss-hash-crc64ecma": str(content.crc64),
    }


def read_listing(parameters: Mapping[str, str], *, tenant: str, bucket: str) -> Listing:
    """
    Read which objects to list; one more than asked for, which says whether there are more.

    Raises:
        BadArgument: If a number is none.
        NotOffered: If the list is to have folders.
    """
    if parameters.get("delimiter"):
        raise NotOffered("lists with a delimiter are not implemented here: list with a prefix")
    limit = parameters.get("max-keys") or "100"
    if not (limit.isascii() and limit.isdecimal()) or not 1 <= int(limit[:9]) <= MAX_LISTED:
        raise BadArgument(f"max-keys is a number from 1 to {MAX_LISTED}")
    prefix, after = parameters.get("prefix", ""), parameters.get("marker", "")
    return Listing(tenant, bucket, int(limit) + 1, prefix, after)


def write_listing(listing: Listing, found: Sequence[MediaObject], *, is_encoded: bool) -> bytes:
    """Write a page of a list, in XML."""
    limit = listing.limit - 1
    shown, has_more = found[:limit], len(found) > limit

    def name(text: str) -> str:
        return quote(text, safe="") if is_encoded else escape(text)

    head = [
        f"<Name>{listing.bucket}</Name>",
        f"<Prefix>{name(listing.prefix)}</Prefix>",
        f"<Marker>{name(listing.after)}</Marker>",
        f"<MaxKeys>{limit}</MaxKeys>",
        "<Delimiter></Delimiter>",
        "<EncodingType>url</EncodingType>" if is_encoded else "",
        f"<IsTruncated>{'true' if has_more else 'false'}</IsTruncated>",
        f"<NextMarker>{name(shown[-1].place.key)}</NextMarker>" if has_more else "",
    ]
    entries = [
        f"<Contents><Key>{name(each.place.key)}</Key>"
        f"<LastModified>{each.modified_at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        f'<ETag>"{each.content.md5.upper()}"</ETag><Type>Normal</Type>'
        f"<Size>{each.content.size_bytes}</Size><StorageClass>Standard</StorageClass>"
        "<Owner><ID>milvane</ID><DisplayName>milvane</DisplayName></Owner></Contents>"
        for each in shown
    ]
    body = "".join([*head, *entries])
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{declaration}<ListBucketResult>{body}</ListBucketResult>".encode()
