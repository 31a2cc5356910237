"""Frames pieces of messages as Protocol Buffers put them on the wire. Pure."""

from __future__ import annotations

_LENGTH_DELIMITED = 2


def tagged(field_number: int, payload: bytes) -> bytes:
    """Frame a length-delimited field (https://protobuf.dev/programming-guides/encoding/)."""
    return _varint(field_number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
