"""What a kept vector is known by. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from typing_extensions import Buffer

KEY_BYTES = 20
"""Two texts of the same key would need about 2**80 tries to find."""


def make_keys(tenant: str, source: str, contents: Iterable[Buffer]) -> list[bytes]:
    """
    Make the keys of vectors.

    Args:
        tenant: Whose they are.

        source: What computes them; equal only for what gives equal vectors.

        contents: All that the vector depends on beside its source, for each one.

    Returns:
        Keys of `KEY_BYTES`, in order; equal only if all three are.
    """
    prefix = blake2b(digest_size=KEY_BYTES)
    for part in (tenant, source):
        encoded = part.encode("utf-8", "surrogatepass")
        # With its length: no two pairs of parts may run together alike.
        prefix.update(len(encoded).to_bytes(8, "little") + encoded)
    keys = []
    for content in contents:
        digest = prefix.copy()
        digest.update(content)
        keys.append(digest.digest())
    return keys
