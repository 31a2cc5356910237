"""Settings of the control plane."""

from __future__ import annotations

from pydantic import Field

from milvane.domain.control import DEFAULT_REGION
from milvane.sections import Section


class ControlSettings(Section):
    """What is offered here, and how changes spread."""

    region: str = Field(
        default=DEFAULT_REGION,
        min_length=1,
        max_length=64,
        description="The region that this server is in: its services are those enabled there.",
    )
    bind_new_instances: bool = Field(
        default=True,
        description="Let a new instance use every service, where nobody says which.",
    )
    poll_interval_s: float = Field(
        default=1.0, gt=0, description="Seconds until a change made by another server is seen."
    )
    session_s: float = Field(
        default=12 * 3600.0, gt=0, description="Seconds that a sign-in to the console lasts."
    )
