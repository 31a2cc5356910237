"""How the embedded Milvus Lite is run."""

from __future__ import annotations

from pydantic import Field

from milvane.sections import Section


class LiteSettings(Section):
    """The embedded Milvus Lite: when rows move to disk, and how long to wait for what."""

    flush_max_rows: int = Field(
        default=1_000,
        ge=1,
        description="Rows of a collection in memory at which they move to disk. Fewer keep "
        "searches short while rows come in, more keep bulk loads quick.",
    )
    flush_max_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1,
        description="Bytes of a collection in memory at which they move to disk.",
    )
    flush_idle_s: float = Field(
        default=2.0,
        gt=0,
        description="Seconds without a write after which a collection's rows move to disk.",
    )
    index_min_rows: int = Field(
        default=2_000,
        ge=1,
        description="Rows of a segment from which its vector index is built. Smaller segments are "
        "scanned, which is exact and at this size as fast.",
    )
    start_timeout_s: float = Field(
        default=120.0, gt=0, description="Seconds for the process to open all collections."
    )
    stop_timeout_s: float = Field(
        default=8.0, gt=0, description="Seconds for the process to flush and end when asked to."
    )
    wait_for_restart_s: float = Field(
        default=5.0,
        ge=0,
        description="Seconds a request waits for a process that is being restarted, before it "
        "is refused with a retriable error.",
    )
    restart_backoff_max_s: float = Field(
        default=5.0, gt=0, description="Longest pause between two attempts to restart, in seconds."
    )
    max_waiting_calls: int = Field(
        default=256,
        ge=1,
        description="Calls that may wait for one collection; above, clients are told to back off.",
    )
    worker_threads: int = Field(
        default=16, ge=2, description="Calls that run at the same time, over all collections."
    )
    fsync: bool = Field(
        default=False,
        description="Wait for the disk at every write, so that acknowledged rows also survive a "
        "power failure. Without it they survive the death of every process.",
    )
