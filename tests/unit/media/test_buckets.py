"""Signed addresses of objects in S3-compatible stores."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from awscrt import auth, http

from milvane.media.buckets import BucketSettings, sign_object, sign_request

NOW = datetime(2013, 5, 24, tzinfo=timezone.utc)
KEYS = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


def bucket(**settings: Any) -> BucketSettings:
    """Describe a bucket with the keys of Amazon's documents."""
    return BucketSettings(**{"endpoint": "https://s3.amazonaws.com", **KEYS, **settings})


def test_an_address_is_signed_as_in_amazons_documents() -> None:
    """The example of the documents has the signature of the documents."""
    url = sign_object(bucket(in_host=True), "examplebucket", "test.txt", NOW, good_s=86400)
    assert url.startswith("https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=")
    assert url.endswith(
        "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.parametrize("key", ["a.png", "dir/ein Bild+ä~(1).png", "a//b/../c?d#e%20f"])
@pytest.mark.parametrize("in_host", [True, False])
def test_an_address_is_signed_as_amazons_library_does(key: str, in_host: bool) -> None:
    """Any key is escaped and signed as the library escapes and signs it."""
    settings = bucket(endpoint="http://10.0.0.1:9000", region="here", in_host=in_host)
    url = sign_object(settings, "pictures", key, NOW)
    parts = urlsplit(url)
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=auth.AwsCredentialsProvider.new_static(*KEYS.values()),
        region="here",
        service="s3",
        date=NOW,
        expiration_in_seconds=300,
        signed_body_value="UNSIGNED-PAYLOAD",
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        omit_session_token=True,
    )
    asked = http.HttpRequest(
        "GET", parts.path, http.HttpHeaders([("host", parts.netloc)]), BytesIO()
    )
    signed = auth.aws_sign_request(asked, config).result(timeout=10)
    expected = parse_qs(urlsplit(signed.path).query)["X-Amz-Signature"]
    assert parse_qs(parts.query)["X-Amz-Signature"] == expected


def test_a_bucket_may_be_of_some_tenants() -> None:
    """Without a list all may read it, with one those that it names."""
    assert bucket().may_be_read_by("anybody")
    assert bucket(tenants=["a"]).may_be_read_by("a")
    assert not bucket(tenants=["a"]).may_be_read_by("b")


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
@pytest.mark.parametrize("in_host", [True, False])
def test_a_request_is_signed_as_amazons_library_does(method: str, in_host: bool) -> None:
    """Method, host, path and digest are under the signature, wherever the bucket is named."""
    settings = bucket(endpoint="https://s3.example", region="here", in_host=in_host, bucket="mine")
    sha256 = hashlib.sha256(b"abc").hexdigest()
    ours = sign_request(settings, method, "a b/ä+c", NOW, sha256=sha256)
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=auth.AwsCredentialsProvider.new_static(*KEYS.values()),
        region="here",
        service="s3",
        date=NOW,
        signed_body_value=sha256,
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
    )
    parts = urlsplit(ours.url)
    asked = http.HttpRequest(
        method, parts.path, http.HttpHeaders([("host", parts.netloc)]), BytesIO()
    )
    signed = auth.aws_sign_request(asked, config).result(timeout=10)
    assert {name.lower(): value for name, value in signed.headers} == ours.headers
