"""Settings of the ledger of usage."""

from __future__ import annotations

from pydantic import Field

from milvane.sections import Section

_DAY_S = 86_400.0


class MeteringSettings(Section):
    """How usage is recorded, and how long it is kept."""

    fold_interval_s: float = Field(
        default=2.0, gt=0, description="Seconds after which charts and quotas see a call."
    )
    fsync: bool = Field(
        default=False,
        description="Have each record on the disk before its call is answered: survives power loss "
        "too, and costs a disk write for each call.",
    )
    max_unwritten: int = Field(
        default=10_000,
        ge=1,
        description="Records held in memory while the disk takes none; then calls are refused.",
    )
    calls_kept_s: float = Field(
        default=7 * _DAY_S, gt=0, description="Seconds that single calls are kept."
    )
    ten_seconds_kept_s: float = Field(
        default=2 * _DAY_S, gt=0, description="Seconds that sums over 10 seconds are kept."
    )
    minutes_kept_s: float = Field(
        default=60 * _DAY_S, gt=0, description="Seconds that sums over a minute are kept."
    )
    hours_kept_s: float = Field(
        default=800 * _DAY_S, gt=0, description="Seconds that sums over an hour are kept."
    )
