"""Which values are media, and which are texts."""

from __future__ import annotations

import pytest

from milvane.domain.contents import MediaPart
from milvane.domain.sources import read_part


@pytest.mark.parametrize(
    "value",
    [
        "https://a.example/cat.jpg",
        "HTTP://A.EXAMPLE",
        "https://a.example/page?x=1&y=%20#top",
        "http://[::1]:8080/x",
        "https://user:secret@a.example/x",
        "https://例え.example/图片.png",
        "data:image/png;base64,AAAA",
        "data:image/svg+xml,%3Csvg%3E",
        "data:;base64,AAAA",
        "data:text/html;charset=utf-8;base64,AAAA",
        "oss://dashscope/folder/a picture.png",
        "s3://bucket/key",
    ],
)
def test_one_address_is_media(value: str) -> None:
    """A value that is one address, white space around it or not, is media."""
    assert read_part(value) == MediaPart(value)
    assert read_part(f" \t{value}\r\n") == MediaPart(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "cat",
        "see https://a.example/cat.jpg",
        "https://a.example/cat.jpg is a cat",
        "https://a.example/cat.jpg\uff0c一只猫",
        "https://a.example/<cat>",
        "https://",
        "https:///cat.jpg",
        "http//a.example",
        "data: none so far",
        "data:,hello",
        "data:text/plain,hello",
        "s3://bucket",
        "oss://bucket/",
        "ftp://a.example/cat.jpg",
        "file:///etc/passwd",
        "/etc/passwd",
        "https://a.example/\nhttps://b.example/",
    ],
)
def test_anything_else_is_a_text(value: str) -> None:
    """A text stays as it is, the addresses and the white space in it too."""
    assert read_part(value) is value
