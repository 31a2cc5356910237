"""Settings of alerts."""

from __future__ import annotations

from pydantic import Field

from milvane.sections import Section


class AlertSettings(Section):
    """How often rules are looked at, and how hard a notification is tried."""

    interval_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds between two looks at all rules; usage comes in steps of 10 seconds.",
    )
    attempts: int = Field(
        default=8, ge=1, description="How often a notification is tried before it is given up."
    )
    backoff_s: float = Field(
        default=5.0,
        gt=0,
        description="Seconds after which a notification is tried again; each time twice as long.",
    )
    max_backoff_s: float = Field(
        default=600.0, gt=0, description="The longest wait between two tries, in seconds."
    )
    history_kept_s: float = Field(
        default=90 * 86_400.0, gt=0, description="Seconds that alerts that are over are kept."
    )
