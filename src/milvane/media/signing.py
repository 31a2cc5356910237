"""
Signatures of OSS, versions 1 and 4, in headers and in addresses. Pure: no clock, no key store.

What is signed is as in the documents of OSS ("Add signatures to headers", "Add signatures to URLs")
and as `oss2` does it: it names the bucket and the key, never the path or the host.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode

from milvane.media.errors import AddressExpired, BadArgument, ClockSkewed

V4 = "OSS4-HMAC-SHA256"
_V4_TIME = "%Y%m%dT%H%M%SZ"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_V1_IN_ADDRESS = ("OSSAccessKeyId", "Expires", "Signature")
_V4_IN_ADDRESS = ("x-oss-signature-version", "x-oss-credential", "x-oss-signature")
V1_SUBRESOURCES = frozenset(
    {
        "acl",
        "append",
        "bucketInfo",
        "callback",
        "callback-var",
        "comp",
        "continuation-token",
        "cors",
        "delete",
        "encryption",
        "lifecycle",
        "link",
        "live",
        "location",
        "logging",
        "objectMeta",
        "partNumber",
        "policy",
        "position",
        "referer",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "security-token",
        "stat",
        "symlink",
        "tagging",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "x-oss-process",
        "x-oss-traffic-limit",
    }
)
"""Parameters that version 1 signs, of those that a request could have reason to bring here."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature is about, but for the bucket and the key."""

    method: str
    parameters: Mapping[str, str]
    """Of the address, decoded."""
    headers: Mapping[str, str]
    """By names in lower case; values as they came, each character a byte."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that came with a request: a claim, until it has been compared."""

    version: int
    access_key_id: str
    presented: str
    dated: str
    """The time as it was signed."""
    expires_at: datetime | None
    """Of an address; none of a signature in headers."""
    signed_at: datetime | None
    """None of an address of version 1, which does not tell."""
    scope: tuple[str, ...] = ()
    """Version 4: day, region, product and a constant."""
    signed_headers: tuple[str, ...] = ()
    """Version 4: names beside those that are always signed."""


def is_signed(request: SignedRequest) -> bool:
    """Say whether a request brings a signature of OSS at all, in any version."""
    if request.headers.get("authorization", "").startswith(("OSS ", "OSS2 ", "OSS4-")):
        return True
    names = request.parameters
    return "OSSAccessKeyId" in names or "x-oss-signature-version" in names


def read_signature(request: SignedRequest) -> Signature:
    """
    Read the signature that came with a request.

    Raises:
        BadArgument: If it is incomplete, or of a version that is not known here.
    """
    claimed = request.headers.get("authorization", "")
    in_address = "OSSAccessKeyId" in request.parameters or (
        "x-oss-signature-version" in request.parameters
    )
    if claimed and in_address:
        raise BadArgument("the request is signed twice, in its headers and in its address")
    if "OSSAccessKeyId" in request.parameters:
        return _read_v1_address(request.parameters)
    if in_address:
        return _read_v4_address(request.parameters)
    if claimed.startswith("OSS "):
        return _read_v1_header(claimed, request.headers)
    if claimed.startswith(f"{V4} "):
        return _read_v4_header(claimed, request.headers)
    raise BadArgument("use version 1 or 4 of signatures (oss2.Auth or oss2.AuthV4)")


def check_time(
    signature: Signature, now: datetime, *, clock_skew_s: float, max_url_s: float
) -> None:
    """
    Refuse a signature that is not for now.

    Raises:
        ClockSkewed: If it was made too long ago, or in the future.
        AddressExpired: If the time of an address is over, or is longer than may be.
    """
    skew = timedelta(seconds=clock_skew_s)
    signed_at, expires_at = signature.signed_at, signature.expires_at
    if expires_at is None:
        if signed_at is None or abs(now - signed_at) > skew:
            raise ClockSkewed(
                "The difference between the request time and the current time is too large: "
                f"set the clock, which may be {clock_skew_s:g} seconds off."
            )
        return
    if signed_at is not None and signed_at - now > skew:
        raise ClockSkewed("the address is signed for a later time than now")
    if now >= expires_at:
        raise AddressExpired("Request has expired.")
    if expires_at - now > timedelta(seconds=max_url_s) + skew:
        raise AddressExpired(
            f"the address would be good for longer than the {max_url_s:g} seconds that are allowed"
        )


def has_signed(
    secret: str, signature: Signature, request: SignedRequest, bucket: str, key: str
) -> bool:
    """Say, in a time that does not depend on where they differ, whether a secret made this."""
    make = _sign_v1 if signature.version == 1 else _sign_v4
    made = make(secret, signature, request, bucket, key)
    return hmac.compare_digest(made.encode(), signature.presented.encode("utf-8", "replace"))


def sign_address(
    base_url: str,
    bucket: str,
    key: str,
    *,
    access_key_id: str,
    secret: str,
    expires_at: datetime,
) -> str:
    """
    Make an address with which anybody may read an object until a time.

    It is of version 1, whose addresses are the shortest: they go into fields of collections.
    """
    expires = str(int(expires_at.timestamp()))
    unsigned = Signature(1, access_key_id, "", expires, expires_at, None)
    made = _sign_v1(secret, unsigned, SignedRequest("GET", {}, {}), bucket, key)
    query = urlencode(dict(zip(_V1_IN_ADDRESS, (access_key_id, expires, made), strict=True)))
    return f"{base_url.rstrip('/')}/{bucket}/{quote(key)}?{query}"


# --- reading -------------------------------------------------------------------------------------


def _read_v1_header(claimed: str, headers: Mapping[str, str]) -> Signature:
    access_key_id, _, presented = claimed.removeprefix("OSS ").partition(":")
    dated = headers.get("x-oss-date") or headers.get("date", "")
    try:
        signed_at = parsedate_to_datetime(dated)
    except ValueError as error:
        raise BadArgument("the request has no date that can be read") from error
    if signed_at.tzinfo is None:
        signed_at = signed_at.replace(tzinfo=timezone.utc)
    return Signature(1, access_key_id, presented, dated, None, signed_at)


def _read_v1_address(parameters: Mapping[str, str]) -> Signature:
    access_key_id, expires, presented = _named(parameters, _V1_IN_ADDRESS)
    expires_at = _instant(expires)
    return Signature(1, access_key_id, presented, expires, expires_at, None)


def _read_v4_header(claimed: str, headers: Mapping[str, str]) -> Signature:
    parts = dict(
        part.strip().partition("=")[::2] for part in claimed.removeprefix(f"{V4} ").split(",")
    )
    credential, presented = _named(parts, ("Credential", "Signature"))
    if headers.get("x-oss-content-sha256") != _UNSIGNED:
        raise BadArgument(f"x-oss-content-sha256 must be {_UNSIGNED}")
    dated = headers.get("x-oss-date", "")
    more = parts.get("AdditionalHeaders", "")
    return _v4(credential, presented, dated, more, expires_s=None)


def _read_v4_address(parameters: Mapping[str, str]) -> Signature:
    version, credential, presented = _named(parameters, _V4_IN_ADDRESS)
    dated, expires = _named(parameters, ("x-oss-date", "x-oss-expires"))
    if version != V4:
        raise BadArgument("use version 1 or 4 of signatures (oss2.Auth or oss2.AuthV4)")
    if not (expires.isascii() and expires.isdecimal() and len(expires) < 10):
        raise BadArgument("x-oss-expires is no number of seconds")
    more = parameters.get("x-oss-additional-headers", "")
    return _v4(credential, presented, dated, more, expires_s=int(expires))


def _v4(
    credential: str, presented: str, dated: str, more: str, *, expires_s: int | None
) -> Signature:
    access_key_id, *scope = credential.split("/")
    try:
        signed_at = datetime.strptime(dated, _V4_TIME).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise BadArgument("x-oss-date is no time, such as 20261120T080000Z") from error
    if len(scope) != 4 or scope[0] != dated[:8] or scope[2:] != ["oss", "aliyun_v4_request"]:
        raise BadArgument("the credential's scope must be <day>/<region>/oss/aliyun_v4_request")
    expires_at = None if expires_s is None else signed_at + timedelta(seconds=expires_s)
    named = tuple(sorted(name.strip().lower() for name in more.split(";") if name.strip()))
    return Signature(4, access_key_id, presented, dated, expires_at, signed_at, tuple(scope), named)


def _named(parts: Mapping[str, str], names: Iterable[str]) -> list[str]:
    try:
        return [parts[name] for name in names]
    except KeyError as missing:
        raise BadArgument(f"the signature has no {missing.args[0]}") from missing


def _instant(seconds: str) -> datetime:
    if not (seconds.isascii() and seconds.isdecimal() and len(seconds) < 12):
        raise BadArgument("Expires is no time, in seconds since 1970")
    return datetime.fromtimestamp(int(seconds), timezone.utc)


# --- making --------------------------------------------------------------------------------------


def _sign_v1(
    secret: str, signature: Signature, request: SignedRequest, bucket: str, key: str
) -> str:
    headers = request.headers
    told = [
        request.method,
        headers.get("content-md5", ""),
        headers.get("content-type", ""),
        signature.dated,
    ]
    told += [f"{name}:{value}" for name, value in sorted(headers.items()) if _is_own(name)]
    chosen = sorted(item for item in request.parameters.items() if item[0] in V1_SUBRESOURCES)
    query = "&".join(f"{name}={value}" if value else name for name, value in chosen)
    resource = f"/{bucket}/{key}" + (f"?{query}" if query else "")
    message = "\n".join(told).encode("latin-1", "replace") + b"\n" + resource.encode()
    return base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha1).digest()).decode()


def _sign_v4(
    secret: str, signature: Signature, request: SignedRequest, bucket: str, key: str
) -> str:
    hidden = "x-oss-signature"
    query = sorted(
        (quote(name, safe=""), quote(value, safe=""))
        for name, value in request.parameters.items()
        if name != hidden
    )
    signed = {"content-type", "content-md5", *signature.signed_headers}
    told = [
        f"{name}:{value}\n"
        for name, value in sorted(request.headers.items())
        if _is_own(name) or name in signed
    ]
    lines = [
        request.method,
        quote(f"/{bucket}/{key}", safe="/"),
        "&".join(f"{name}={value}" if value else name for name, value in query),
        "".join(told),
        ";".join(signature.signed_headers),
        request.headers.get("x-oss-content-sha256", _UNSIGNED),
    ]
    canonical = hashlib.sha256("\n".join(lines).encode("latin-1", "replace")).hexdigest()
    message = "\n".join([V4, signature.dated, "/".join(signature.scope), canonical])
    signing_key = f"aliyun_v4{secret}".encode()
    for part in signature.scope:
        signing_key = hmac.new(signing_key, part.encode(), hashlib.sha256).digest()
    return hmac.new(signing_key, message.encode(), hashlib.sha256).hexdigest()


def _is_own(name: str) -> bool:
    return name.startswith("x-oss-")
