"""The vectors that were used last, within a bound of memory. Pure."""

from __future__ import annotations

from collections import OrderedDict

ENTRY_BYTES = 240
"""What the interpreter takes for an entry beside the vector: measured on CPython 3.11, 64 bit."""


class RecentVectors:
    """Forgets the vector that was longest unused as soon as there are too many."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self.bytes = 0
        """What the entries take, never more than the bound."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """Find a vector, which is then the last used one."""
        vector = self._entries.get(key)
        if vector is not None:
            self._entries.move_to_end(key)
        return vector

    def put(self, key: bytes, vector: bytes) -> None:
        """Keep a vector; one that is larger than the bound alone is not kept."""
        before = self._entries.pop(key, None)
        if before is not None:
            self.bytes -= len(before) + ENTRY_BYTES
        taken = len(vector) + ENTRY_BYTES
        if taken > self._max_bytes:
            return
        self._entries[key] = vector
        self.bytes += taken
        while self.bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.bytes -= len(oldest) + ENTRY_BYTES
