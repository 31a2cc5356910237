"""Which keys are surely not on the disk: a Bloom filter. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BITS_PER_KEY = 16
"""With four positions for each key, one absent key in 400 is looked for in vain."""


class Membership:
    """
    Says of a key that it was never added, or that it may have been.

    Keys must be uniformly distributed, as digests are: their bytes are the hash functions.
    """

    def __init__(self, expected_keys: int) -> None:
        """
        Make room.

        Args:
            expected_keys: With more than these, wrong guesses become frequent.
        """
        bits = max(1024, expected_keys * _BITS_PER_KEY)
        self._mask = (1 << min(32, (bits - 1).bit_length())) - 1
        self._bits = bytearray((self._mask + 1) // 8)

    def add(self, key: bytes) -> None:
        """Remember a key of at least 16 bytes."""
        for position in self._positions(key):
            self._bits[position >> 3] |= 1 << (position & 7)

    def add_all(self, keys: Sequence[bytes]) -> None:
        """Remember many keys, all of one length that is a multiple of 4 bytes."""
        if not keys:
            return
        words = np.frombuffer(b"".join(keys), "<u4").reshape(len(keys), -1)
        positions = words[:, :4] & np.uint32(self._mask)
        bits = np.frombuffer(self._bits, np.uint8)
        np.bitwise_or.at(bits, positions >> 3, (1 << (positions & 7)).astype(np.uint8))

    def join(self, other: Membership) -> None:
        """Remember all that another one, made for as many keys, remembers."""
        bits = np.frombuffer(self._bits, np.uint8)
        np.bitwise_or(bits, np.frombuffer(other._bits, np.uint8), out=bits)

    def may_hold(self, key: bytes) -> bool:
        """Say whether a key may have been added; wrong only in saying so."""
        return all(self._bits[place >> 3] >> (place & 7) & 1 for place in self._positions(key))

    def _positions(self, key: bytes) -> tuple[int, int, int, int]:
        number, mask = int.from_bytes(key[:16], "little"), self._mask
        return number & mask, number >> 32 & mask, number >> 64 & mask, number >> 96 & mask
