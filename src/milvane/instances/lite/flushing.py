"""When a collection's rows move from memory to disk. Pure: the clock and the work are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milvane.instances.settings import LiteSettings

_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """What a collection may hold in memory, and for how long after its last write."""

    max_rows: int
    max_bytes: int
    idle_s: float

    @classmethod
    def from_settings(cls, settings: LiteSettings) -> FlushPolicy:
        """Take the limits from the settings."""
        return cls(settings.flush_max_rows, settings.flush_max_bytes, settings.flush_idle_s)


@dataclass(frozen=True, slots=True)
class Pending:
    """What of a collection is in memory only (and in the write-ahead log)."""

    rows: int
    """Rows and tombstones: both are looked at by every search."""
    bytes: int


def wait_before_flush_s(
    pending: Pending, since_write_s: float, policy: FlushPolicy
) -> float | None:
    """
    Say how long a collection's rows may stay in memory if nothing more is written.

    Args:
        pending: What is in memory.

        since_write_s: Seconds since the last write.

        policy: The limits.

    Returns:
        Seconds from now, 0 if they should move at once, nothing if there are none.
    """
    if pending.rows == 0:
        return None
    if pending.rows >= policy.max_rows or pending.bytes >= policy.max_bytes:
        return 0.0
    return max(0.0, policy.idle_s - since_write_s)


def pause_after_failure_s(failures: int) -> float:
    """
    Say how long to wait before a flush that failed is tried again.

    Args:
        failures: How often it failed in a row, from 1.
    """
    return min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 16))
