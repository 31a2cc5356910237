"""`data:` URIs, and what addresses are remembered by."""

from __future__ import annotations

import base64

import pytest

from milvane.domain.errors import MediaRejected
from milvane.media.sources import address_key, read_data


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        ("data:image/png;base64,aGVsbG8=", b"hello"),
        ("DATA:;BASE64,aGVsbG8", b"hello"),
        ("data:image/png;name=a.png;base64,aGVs\r\nbG8=", b"hello"),
        ("data:image/png;base64,aGVsbG8%3D", b"hello"),
        ("data:image/png;base64,-_-_", b"\xfb\xff\xbf"),
        ("data:image/png,a%20b", b"a b"),
        ("data:,", b""),
    ],
)
def test_the_bytes_of_a_data_uri_are_read(uri: str, content: bytes) -> None:
    """Both codes are understood, and base64 as senders really write it."""
    assert read_data(uri, max_bytes=100) == content


@pytest.mark.parametrize(
    "uri", ["data:image/png;base64", "data:image/png;base64,a", "data:x,é", "data:;base64,a$=="]
)
def test_a_damaged_data_uri_is_refused(uri: str) -> None:
    """What is not such a URI, or not in its code, is refused."""
    with pytest.raises(MediaRejected, match="data: URI"):
        read_data(uri, max_bytes=100)


@pytest.mark.parametrize("size", [99, 100, 101, 5000])
def test_a_data_uri_is_held_to_its_size(size: int) -> None:
    """As many bytes as allowed are read, and not one more."""
    for uri in (
        "data:;base64," + base64.b64encode(b"x" * size).decode(),
        "data:," + "%78" * size,
    ):
        if size <= 100:
            assert len(read_data(uri, max_bytes=100)) == size
        else:
            with pytest.raises(MediaRejected, match="more than 100 bytes"):
                read_data(uri, max_bytes=100)


ADDRESS = "https://bucket.oss.example/dir/a.png"


@pytest.mark.parametrize(
    "signed",
    [
        "?OSSAccessKeyId=a&Expires=1&Signature=b",
        "?x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-date=d&x-oss-signature=s",
        "?X-Amz-Algorithm=a&X-Amz-Date=d&X-Amz-Signature=s&X-Amz-Security-Token=t",
        "?security-token=t&Expires=2",
        "?sv=2022&sr=b&sig=abc&se=2030",
        "?X-Goog-Signature=1&X-Goog-Date=2",
        "?q-sign-algorithm=sha1&q-ak=a&q-signature=b",
        "#fragment",
    ],
)
def test_a_signature_is_no_part_of_what_is_remembered(signed: str) -> None:
    """An object is the same, however and by whomever it was signed."""
    assert address_key(ADDRESS + signed, "t") == address_key(ADDRESS, "t")


def test_what_changes_the_content_is_part_of_what_is_remembered() -> None:
    """Another tenant, object, version or size is another one."""
    keys = [
        address_key(url, tenant)
        for url, tenant in (
            (ADDRESS, "t"),
            (ADDRESS, "u"),
            (ADDRESS + "?x-oss-process=image/resize,w_100", "t"),
            (ADDRESS + "?versionId=2", "t"),
            (ADDRESS + "?sv=1", "t"),  # not one of Azure without its signature
            (ADDRESS + "?a=1&b=2", "t"),
            (ADDRESS + "?b=2&a=1", "t"),
            (ADDRESS.replace("https", "http"), "t"),
            (ADDRESS.replace("a.png", "b.png"), "t"),
        )
    ]
    assert len(set(keys)) == len(keys)
