"""Instances that operators add while servers run: commands, each with its entry in the log."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, select

from milvane.control_plane import commands
from milvane.control_plane.commands import Change
from milvane.domain.control import AddedInstance
from milvane.domain.errors import Conflict, InvalidInput
from milvane.storage.control_tables import ADDED_INSTANCES, INSTANCES
from milvane.storage.sealing import seal

MAX_ADDED = 200
"""Added instances, each with a port in every server."""

_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class InstanceOrder:
    """A Milvus elsewhere that is to be served, found to be well-formed."""

    name: str
    address: str
    grpc_port: int | None = None
    """The first free one after the server's own if none."""
    token: str = field(default="", repr=False)
    ca_certificate: str = ""
    server_name: str = ""
    services: Sequence[str] | None = None
    """What it may use, by ids or models; every service if none."""


@dataclass(frozen=True, slots=True)
class PortPlan:
    """Which ports an added instance may get."""

    first: int
    """The server's own; 0 where ports are chosen by the machine."""
    taken: Collection[int] = ()
    """By instances of the settings, and other doors."""


def add_instance(change: Change, order: InstanceOrder, *, region: str, ports: PortPlan) -> int:
    """
    Have every server of a region serve an instance from now on, and let it use services.

    Returns:
        Its port; 0 if the machine chooses one.

    Raises:
        Conflict: If there is an instance of this name, or its port is another's.
        NotFound: If a service is not there.
    """
    connection = change.connection
    if any(each.name == order.name for each in commands.list_instances(connection)):
        raise Conflict(f"there is an instance {order.name!r} already")
    added = list_added(connection)
    if len(added) >= MAX_ADDED:
        raise Conflict(f"{MAX_ADDED} instances have been added: remove some first")
    used = {each.grpc_port for each in added if each.grpc_port} | set(ports.taken)
    port = choose_port(order.grpc_port, ports.first, used)
    facts = {"grpc_port": port, "has_token": bool(order.token)}
    commands.add_instance(change, order.name, region=region, address=order.address, **facts)
    connection.execute(
        insert(ADDED_INSTANCES).values(
            name=order.name,
            grpc_port=port,
            token=seal(connection, order.token) if order.token else "",
            ca_certificate=order.ca_certificate,
            server_name=order.server_name,
        )
    )
    bind_new(change, order.name, region=region, services=order.services)
    return port


def bind_new(
    change: Change, name: str, *, region: str, services: Sequence[str] | None = None
) -> None:
    """
    Let an instance that was just made known use services; every one of the region if none is named.

    Raises:
        NotFound: If one is not there.
    """
    found = (
        commands.list_services(change.connection, region)
        if services is None
        else [commands.find_service(change.connection, each, region) for each in services]
    )
    for service in found:
        commands.bind(change, service, [name])


def choose_port(asked: int | None, first: int, used: Collection[int]) -> int:
    """
    Choose a port: the one asked for, or the lowest after the server's own that no other has.

    Raises:
        Conflict: If the one asked for is another's, or none is left.
        InvalidInput: If it is none.
    """
    if asked is not None:
        if not 0 <= asked <= _LAST_PORT:
            raise InvalidInput(f"a port is from 0 to {_LAST_PORT}", parameter="grpc_port")
        if asked and asked in (first, *used):
            raise Conflict(f"the port {asked} is another instance's")
        return asked
    if not first:
        return 0
    for port in range(first + 1, _LAST_PORT + 1):
        if port not in used:
            return port
    raise Conflict(f"no port after {first} is free: name one")


def remove_instance(change: Change, name: str, *, in_settings: Collection[str]) -> None:
    """
    Have no server serve an instance any more, and forget it; its usage stays in the ledger.

    Args:
        change: The transaction.

        name: The instance's.

        in_settings: Instances that the settings name: they come back at the next start.

    Raises:
        NotFound: If there is none.
        Conflict: If it is one of the settings.
    """
    if name in in_settings:
        raise Conflict(f"the settings name the instance {name!r}: take it out of them instead")
    commands.remove_instance(change, name)


def list_added(connection: Connection, region: str | None = None) -> list[AddedInstance]:
    """List the instances that were added, by name."""
    statement = (
        select(ADDED_INSTANCES, INSTANCES.c.address)
        .join(INSTANCES, INSTANCES.c.name == ADDED_INSTANCES.c.name)
        .order_by(ADDED_INSTANCES.c.name)
    )
    if region is not None:
        statement = statement.where(INSTANCES.c.region == region)
    return [
        AddedInstance(
            name=row.name,
            address=row.address,
            grpc_port=row.grpc_port,
            sealed_token=row.token,
            ca_certificate=row.ca_certificate,
            server_name=row.server_name,
        )
        for row in connection.execute(statement)
    ]


def take_over(change: Change, name: str) -> None:
    """Let the settings decide from now on how an instance of theirs is reached."""
    mine = ADDED_INSTANCES.c.name == name
    if change.connection.execute(ADDED_INSTANCES.delete().where(mine)).rowcount:
        change.note("instance.change", name, by="settings")
