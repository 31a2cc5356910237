"""
Objects of S3-compatible stores elsewhere, reached with credentials of the operator's.

Pure, by AWS's Signature Version 4. What callers point at becomes a signed address, which is fetched
like any other (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html); for
what the media store keeps, requests are signed in a header (sigv4-header-based-auth.html there).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr

from milvane.media.policy import FetchRules
from milvane.sections import Section

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256().hexdigest()
_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class BucketAccess(Section):
    """Where a bucket of a store elsewhere is, and what opens it."""

    endpoint: str = Field(
        pattern=r"^https?://[^/?#@\s]+$",
        description="Address of the store, such as https://s3.eu-central-1.amazonaws.com, "
        "https://s3.oss-cn-hangzhou.aliyuncs.com or http://10.20.0.5:9000; it may be in a private "
        "network.",
    )
    bucket: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$",
        description="Its name there; NAME if not given.",
    )
    region: str = Field(default="us-east-1", description="What requests are signed for.")
    access_key_id: SecretStr = Field(description="The id of a key pair that may read the bucket.")
    secret_access_key: SecretStr = Field(description="Its secret.")
    in_host: bool = Field(
        default=False,
        description="Name the bucket in the host instead of the path, as OSS and newer buckets of "
        "Amazon want it.",
    )


class BucketSettings(BucketAccess):
    """A bucket of a store elsewhere, read as `s3://NAME/key` or `oss://NAME/key`."""

    tenants: tuple[str, ...] = Field(
        default=(), description="Tenants that may read the bucket; all if empty."
    )

    def may_be_read_by(self, tenant: str) -> bool:
        """Say whether a tenant's callers may have its objects."""
        return not self.tenants or tenant in self.tenants

    @property
    def rules(self) -> FetchRules:
        """Where requests may go: to the store alone, wherever it is."""
        parts = urlsplit(self.endpoint)
        host = (parts.hostname or "").lower()
        return FetchRules(
            allowed_domains=(host, f"*.{host}"),
            allowed_networks=_ANYWHERE,
            allowed_ports=() if parts.port is None else (parts.port,),
        )


def sign_object(
    settings: BucketSettings, name: str, key: str, now: datetime, *, good_s: int = 300
) -> str:
    """
    Make the address of an object, signed.

    Args:
        settings: The bucket.

        name: By which it is configured.

        key: Of the object, as it is, without percent signs.

        now: Aware, in UTC.

        good_s: How long the address may be used.
    """
    scheme, host, path = _locate(settings, settings.bucket or name, key)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{settings.region}/s3/aws4_request"
    query = "&".join(
        f"{field}={quote(value, safe='~')}"
        for field, value in (
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", f"{settings.access_key_id.get_secret_value()}/{scope}"),
            ("X-Amz-Date", stamp),
            ("X-Amz-Expires", str(good_s)),
            ("X-Amz-SignedHeaders", "host"),
        )
    )
    request = "\n".join(["GET", path, query, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"])
    signature = _sign(settings, request, stamp, scope)
    return f"{scheme}://{host}{path}?{query}&X-Amz-Signature={signature}"


@dataclass(frozen=True, slots=True)
class Signed:
    """A request that a bucket takes."""

    url: str
    headers: dict[str, str]


def sign_request(
    settings: BucketAccess, method: str, key: str, now: datetime, *, sha256: str = EMPTY_SHA256
) -> Signed:
    """
    Sign a request for an object, and the content that is sent with it.

    Args:
        settings: The bucket, with its name.

        method: Such as ``PUT``.

        key: Of the object, as it is, without percent signs.

        now: Aware, in UTC.

        sha256: Of the content, in lower-case hexadecimal digits; that of none by default.
    """
    scheme, host, path = _locate(settings, settings.bucket or "", key)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{settings.region}/s3/aws4_request"
    headers = {"host": host, "x-amz-content-sha256": sha256, "x-amz-date": stamp}
    told = [f"{name}:{value}" for name, value in headers.items()]
    names = ";".join(headers)
    signature = _sign(
        settings, "\n".join([method, path, "", *told, "", names, sha256]), stamp, scope
    )
    credential = f"{settings.access_key_id.get_secret_value()}/{scope}"
    headers["authorization"] = (
        f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    return Signed(f"{scheme}://{host}{path}", headers)


def _locate(settings: BucketAccess, bucket: str, key: str) -> tuple[str, str, str]:
    """Say the scheme, the host and the escaped path of an object."""
    scheme, _, endpoint = settings.endpoint.partition("://")
    host = f"{bucket}.{endpoint}" if settings.in_host else endpoint
    return scheme, host, quote(f"/{key}" if settings.in_host else f"/{bucket}/{key}", safe="/~")


def _sign(settings: BucketAccess, request: str, stamp: str, scope: str) -> str:
    """Sign a canonical request."""
    digest = hashlib.sha256(request.encode()).hexdigest()
    told = "\n".join([ALGORITHM, stamp, scope, digest])
    signing_key = f"AWS4{settings.secret_access_key.get_secret_value()}".encode()
    for part in scope.split("/"):
        signing_key = _hmac(signing_key, part)
    return hmac.new(signing_key, told.encode(), hashlib.sha256).hexdigest()


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.new(key, message.encode(), hashlib.sha256).digest()
