"""Signatures of OSS: what they are about, and how long they are good."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlsplit

import pytest

from milvane.media.errors import AddressExpired, BadArgument, ClockSkewed
from milvane.media.signing import (
    SignedRequest,
    check_time,
    has_signed,
    is_signed,
    read_signature,
    sign_address,
)

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def signed(lasts_s: float) -> SignedRequest:
    """Make a request for an object by an address of ours."""
    url = sign_address(
        "http://host/",
        "films",
        "a b/图.mp4",
        access_key_id="id",
        secret="secret",
        expires_at=NOW + timedelta(seconds=lasts_s),
    )
    parts = urlsplit(url)
    assert parts.path == "/films/a%20b/%E5%9B%BE.mp4"
    return SignedRequest("GET", dict(parse_qsl(parts.query)), {})


def test_documented_signature_is_made() -> None:
    """The example of OSS's documents for signatures in headers has the documented signature."""
    headers = {
        "content-md5": "ODBGOERFMDMzQTczRUY3NUE3NzA5QzdFNUYzMDQxNEM=",
        "content-type": "text/html",
        "date": "Thu, 17 Nov 2005 18:49:58 GMT",
        "x-oss-magic": "abracadabra",
        "x-oss-meta-author": "foo@bar.com",
        "authorization": "OSS 44CF9590006BF252F707:26NBxoKdsyly4EDv6inkoDft/yA=",
    }
    request = SignedRequest("PUT", {}, headers)
    signature = read_signature(request)
    secret = "OtxrzxIsfpFjA7SwPzILwy8Bw21TLhquhboDYROV"  # noqa: S105 - of the documents
    assert signature.access_key_id == "44CF9590006BF252F707"
    assert has_signed(secret, signature, request, "oss-example", "nelson")
    assert not has_signed(secret, signature, request, "oss-example", "nelson2")
    assert not has_signed("other", signature, request, "oss-example", "nelson")


def test_address_is_good_until_its_time() -> None:
    """The last moment before the time is in it, the time itself is not."""
    request = signed(60)
    signature = read_signature(request)
    assert has_signed("secret", signature, request, "films", "a b/图.mp4")
    limits = {"clock_skew_s": 0.0, "max_url_s": 60.0}
    check_time(signature, NOW + timedelta(seconds=59.999), **limits)
    with pytest.raises(AddressExpired):
        check_time(signature, NOW + timedelta(seconds=60), **limits)
    with pytest.raises(AddressExpired, match="longer than"):
        check_time(read_signature(signed(61)), NOW, **limits)


@pytest.mark.parametrize("off_s", [-901, 901])
def test_header_of_another_time_is_refused(off_s: float) -> None:
    """Up to the allowed difference of clocks a request is taken, beyond it is not."""
    headers = {"authorization": "OSS id:x", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    signature = read_signature(SignedRequest("GET", {}, headers))
    limits = {"clock_skew_s": 900.0, "max_url_s": 60.0}
    check_time(signature, NOW + timedelta(seconds=off_s / 901 * 900), **limits)
    with pytest.raises(ClockSkewed):
        check_time(signature, NOW + timedelta(seconds=off_s), **limits)


V4 = {
    "x-oss-signature-version": "OSS4-HMAC-SHA256",
    "x-oss-credential": "id/20260101/local/oss/aliyun_v4_request",
    "x-oss-date": "20260101T000000Z",
    "x-oss-expires": "60",
    "x-oss-signature": "x",
}


@pytest.mark.parametrize(
    ("parameters", "headers"),
    [
        ({"OSSAccessKeyId": "id"}, {}),
        ({"OSSAccessKeyId": "id", "Expires": "soon", "Signature": "x"}, {}),
        ({"OSSAccessKeyId": "id", "Expires": "9" * 30, "Signature": "x"}, {}),
        ({"OSSAccessKeyId": "id", "Expires": "1", "Signature": "x"}, {"authorization": "OSS a:b"}),
        ({}, {"authorization": "OSS id:x"}),
        ({}, {"authorization": "OSS id:x", "date": "yesterday"}),
        ({}, {"authorization": "OSS2 AccessKeyId:id,Signature:x"}),
        ({}, {"authorization": "OSS4-HMAC-SHA256 Credential=id"}),
        (V4 | {"x-oss-date": "now"}, {}),
        (V4 | {"x-oss-expires": "-1"}, {}),
        (V4 | {"x-oss-credential": "id/20260102/local/oss/aliyun_v4_request"}, {}),
        (V4 | {"x-oss-credential": "id"}, {}),
        ({name: value for name, value in V4.items() if name != "x-oss-credential"}, {}),
    ],
)
def test_what_cannot_be_read_is_refused(
    parameters: dict[str, str], headers: dict[str, str]
) -> None:
    """A claim that is incomplete or is two is an error of the caller, never one of ours."""
    request = SignedRequest("GET", parameters, headers)
    assert is_signed(request)
    with pytest.raises(BadArgument):
        read_signature(request)
