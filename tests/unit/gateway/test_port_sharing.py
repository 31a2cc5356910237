"""How the first bytes of a connection say what it is."""

from __future__ import annotations

import pytest

from milvane.gateway.port_sharing import HTTP2_PREFACE, is_http2


@pytest.mark.parametrize("length", range(len(HTTP2_PREFACE)))
def test_part_of_the_preface_decides_nothing(length: int) -> None:
    """Every shorter beginning may still become anything."""
    assert is_http2(HTTP2_PREFACE[:length]) is None


@pytest.mark.parametrize("more", [b"", b"\x00\x00\x00\x04"])
def test_preface_is_http2(more: bytes) -> None:
    """Whatever follows it."""
    assert is_http2(HTTP2_PREFACE + more) is True


@pytest.mark.parametrize("first", [b"G", b"PO", b"PRO", HTTP2_PREFACE[:-1] + b"x", b"\x16", b"\n"])
def test_anything_else_is_not(first: bytes) -> None:
    """The first byte that differs decides, however little has come."""
    assert is_http2(first) is False
