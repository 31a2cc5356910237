"""What the management API works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from milvane.apis.management.door import Doorkeeper, Manager
from milvane.apis.management.ports import Insight, InstanceDoors, WeightsShelf
from milvane.control_plane.plane import ControlPlane
from milvane.domain.catalogue import WeightsName
from milvane.domain.models import ModelName
from milvane.metering.reports import UsageReports


@dataclass(frozen=True, slots=True)
class Management:
    """The components behind the routes, joined by `bootstrap`."""

    plane: ControlPlane
    reports: UsageReports
    clock: Callable[[], datetime]
    served_instances: Callable[[], Mapping[str, int]]
    """Ports of the instances that this server serves, by name."""
    served_by: Mapping[ModelName, WeightsName]
    session_s: float
    """How long a sign-in lasts."""
    doors: InstanceDoors | None = None
    """Serves instances that operators add; none to do without."""
    weights: WeightsShelf | None = None
    """Loads and unloads weights; none to do without."""
    insight: Insight | None = None
    """Looks into the running server; none to do without."""

    @property
    def doorkeeper(self) -> Doorkeeper:
        """Who finds out who manages."""
        return Doorkeeper(self.plane, self.clock)


def _manager_of(request: Request) -> Manager:
    manager: Manager = request.state.manager
    return manager


ByManager = Annotated[Manager, Depends(_manager_of)]
"""Who makes the request; the door has let them in."""
