"""
Where media is, as callers write it: `data:` URIs, and addresses without their signatures.

Pure. None of it may be shown or logged: it is signed, or it is the picture itself.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from urllib.parse import unquote_to_bytes, urlsplit

import pybase64

from milvane.domain.errors import MediaRejected, MediaTooLarge

_DATA = re.compile(r"data:([\w.+\-]+/[\w.+\-]+)?((?:;[^;,\s]+)*),", re.IGNORECASE)
_BREAKS = str.maketrans("", "", "\r\n\t ")

# Parameters with which object stores sign: of OSS, S3, Google, Azure, Tencent, CloudFront.
_SIGNED_NAMES = frozenset(
    (
        "expires",
        "signature",
        "ossaccesskeyid",
        "awsaccesskeyid",
        "googleaccessid",
        "security-token",
        "key-pair-id",
        "policy",
    )
)
_SIGNED_STARTS = ("x-oss-", "x-amz-", "x-goog-", "q-sign", "q-ak", "q-key-time", "q-url-param")
_AZURE = frozenset(
    ("sv", "ss", "srt", "sr", "se", "st", "sp", "spr", "sip", "sig", "sdd", "rscc", "skoid")
).union(("sktid", "skt", "ske", "sks", "skv"))
_KEPT = frozenset(("x-oss-process", "x-amz-version-id"))
"""Of those, what changes the content that is sent."""


def read_data(uri: str, *, max_bytes: int) -> bytes:
    """
    Read the bytes that a `data:` URI holds (RFC 2397).

    Args:
        uri: All of it.

        max_bytes: What may come out; checked before it does.

    Raises:
        MediaRejected: If it is none, or too large.
    """
    match = _DATA.match(uri)
    if match is None:
        raise MediaRejected("its data: URI cannot be read")
    content = uri[match.end() :]
    if match[2].lower().endswith(";base64"):
        if len(content) > max_bytes // 3 * 4 + 4096:
            raise too_large(max_bytes)
        decoded = _read_base64(content)
    else:
        if len(content) > 3 * max_bytes:
            raise too_large(max_bytes)
        decoded = _read_escaped(content)
    if len(decoded) > max_bytes:
        raise too_large(max_bytes)
    return decoded


def too_large(max_bytes: int) -> MediaTooLarge:
    """Say that there are more bytes than may be."""
    return MediaTooLarge(
        f"it has more than {_say_bytes(max_bytes)}, the most that is taken", max_bytes=max_bytes
    )


def address_key(url: str, tenant: str) -> bytes:
    """
    Make what an address is remembered by: without what it was signed with, and for one tenant.

    Returns:
        A digest: equal for two addresses of one object that were signed at different times.
    """
    parts = urlsplit(url)
    fields = [field for field in parts.query.split("&") if field]
    names = [field.partition("=")[0].lower() for field in fields]
    is_azure = "sig" in names
    kept = [
        field
        for field, name in zip(fields, names, strict=True)
        if not _signs(name) and not (is_azure and name in _AZURE)
    ]
    told = (tenant, parts.scheme, parts.netloc.lower(), parts.path or "/", "&".join(kept))
    return hashlib.sha256("\0".join(told).encode("utf-8", "surrogatepass")).digest()


def _signs(name: str) -> bool:
    return name not in _KEPT and (name in _SIGNED_NAMES or name.startswith(_SIGNED_STARTS))


def _read_base64(content: str) -> bytes:
    if "%" in content:
        try:
            content = unquote_to_bytes(content).decode("ascii")
        except UnicodeError as error:
            raise MediaRejected("its data: URI is not base64") from error
    if any(char in content for char in "\r\n\t "):
        content = content.translate(_BREAKS)
    if "-" in content or "_" in content:
        content = content.replace("-", "+").replace("_", "/")
    content += "=" * (-len(content) % 4)  # which some senders leave out
    try:
        return pybase64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaRejected("its data: URI is not base64") from error


def _read_escaped(content: str) -> bytes:
    try:
        return unquote_to_bytes(content.encode("ascii"))
    except UnicodeEncodeError as error:
        raise MediaRejected("its data: URI has characters that are not escaped") from error


def _say_bytes(count: int) -> str:
    mebibytes = count / 1024**2
    return (
        f"{mebibytes:g} MiB" if mebibytes >= 1 and mebibytes == int(mebibytes) else f"{count} bytes"
    )
