"""The Milvus endpoints: which there are, and serving another one from now on."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter

from milvane.apis.management.bundle import ByManager, Management
from milvane.apis.management.wire import InstanceAnswer, InstanceBody, InstanceList
from milvane.control_plane import additions, commands
from milvane.control_plane.additions import InstanceOrder
from milvane.control_plane.commands import Change
from milvane.domain.control import GovernedInstance
from milvane.domain.errors import NotFound
from milvane.instances.selection import check_remote


def instances_router(management: Management) -> APIRouter:
    """Build the routes of instances."""
    router = APIRouter(prefix="/instances")
    plane, doors = management.plane, management.doors

    @router.get("")
    async def list_instances() -> InstanceList:
        """List the Milvus endpoints, and which models each uses."""
        found = await plane.read(commands.list_instances)
        return InstanceList(instances=[_show(each, management) for each in found])

    @router.delete("/{name}", status_code=204)
    async def remove_instance(name: str, manager: ByManager) -> None:
        """Serve an instance no more, and forget it and its associations; its usage stays."""
        in_settings = doors.in_settings if doors else ()
        work = partial(additions.remove_instance, name=name, in_settings=in_settings)
        await plane.change(manager.name, work)

    if doors is None:
        return router

    @router.post("", status_code=201)
    async def add_instance(body: InstanceBody, manager: ByManager) -> InstanceAnswer:
        """Serve a Milvus elsewhere from now on, at a port of its own, also after a restart."""
        order = _read_order(body, management)

        def work(change: Change) -> int:
            return additions.add_instance(change, order, region=plane.region, ports=doors.port_plan)

        await plane.change(manager.name, work)
        await doors.settled(body.name)
        for each in await plane.read(commands.list_instances):
            if each.name == body.name:
                return _show(each, management)
        raise NotFound(f"the instance {body.name!r} was removed at once")

    return router


def _read_order(body: InstanceBody, management: Management) -> InstanceOrder:
    token = body.token.get_secret_value()
    check_remote(
        name=body.name,
        uri=body.uri,
        grpc_port=body.grpc_port,
        token=token,
        ca_certificate=body.ca_certificate,
        server_name=body.server_name,
    )
    services = body.services
    if services is None and not management.plane.binds_new_instances:
        services = []
    return InstanceOrder(
        name=body.name,
        address=body.uri,
        grpc_port=body.grpc_port,
        token=token,
        ca_certificate=body.ca_certificate,
        server_name=body.server_name,
        services=services,
    )


def _show(instance: GovernedInstance, management: Management) -> InstanceAnswer:
    snapshot, doors = management.plane.snapshot, management.doors
    ports = management.served_instances()
    added = {each.name: each for each in snapshot.added}.get(instance.name)
    return InstanceAnswer(
        name=instance.name,
        region=instance.region,
        address=instance.address,
        created_at=instance.created_at,
        models=sorted(model for name, model in snapshot.bound if name == instance.name),
        is_served=instance.name in ports,
        grpc_port=ports.get(instance.name),
        is_added=added is not None,
        has_token=added is not None and bool(added.sealed_token),
        trouble=doors.troubles.get(instance.name) if doors else None,
    )
