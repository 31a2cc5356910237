"""
Objects of S3-compatible stores elsewhere, read with credentials of the operator's.

Pure: an object becomes a signed address, which is fetched like any other. By AWS's Signature
Version 4 in the query: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from ipaddress import ip_network
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr

from milvane.media.policy import FetchRules
from milvane.sections import Section

ALGORITHM = "AWS4-HMAC-SHA256"
_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class BucketSettings(Section):
    """A bucket of a store elsewhere, read as `s3://NAME/key` or `oss://NAME/key`."""

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
    scheme, _, endpoint = settings.endpoint.partition("://")
    bucket = settings.bucket or name
    host = f"{bucket}.{endpoint}" if settings.in_host else endpoint
    path = quote(f"/{key}" if settings.in_host else f"/{bucket}/{key}", safe="/~")
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
    digest = hashlib.sha256(request.encode()).hexdigest()
    told = "\n".join([ALGORITHM, stamp, scope, digest])
    signing_key = f"AWS4{settings.secret_access_key.get_secret_value()}".encode()
    for part in scope.split("/"):
        signing_key = _hmac(signing_key, part)
    signature = hmac.new(signing_key, told.encode(), hashlib.sha256).hexdigest()
    return f"{scheme}://{host}{path}?{query}&X-Amz-Signature={signature}"


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.new(key, message.encode(), hashlib.sha256).digest()
