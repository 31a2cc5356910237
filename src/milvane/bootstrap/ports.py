"""Which ports are given to instances that operators add."""

from __future__ import annotations

from milvane.control_plane.additions import PortPlan
from milvane.settings import Settings


def port_plan(settings: Settings) -> PortPlan:
    """Say which ports added instances may get."""
    server = settings.server
    taken = {each.grpc_port for each in settings.instances if each.grpc_port}
    return PortPlan(server.grpc_port, taken | ({server.http_port} - {0}))
