"""The verbs of instances: which there are, serving another one, and what each may use."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from milvane.cli.options import ConfigOption, DataDirOption, JsonOption, ServiceArgument

AllOption = Annotated[bool, typer.Option("--all", help="Every instance of the region.")]
NameArgument = Annotated[str, typer.Argument(help="The instance's name.")]

instances_app = typer.Typer(help="The Milvus endpoints that are served.", no_args_is_help=True)
associations_app = typer.Typer(help="Which instance may use which service.", no_args_is_help=True)


@instances_app.command("list", epilog="Example:\n\n`milvane instances list`")
def list_instances(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List the Milvus endpoints: those of the settings, and those that were added."""
    from milvane.cli.records import Records
    from milvane.control_plane import additions, commands

    records = Records.open(data_dir, config, as_json=as_json)

    def read(connection: Any) -> list[dict[str, Any]]:
        added = {each.name: each for each in additions.list_added(connection)}
        return [
            asdict(each)
            | {
                "grpc_port": added[each.name].grpc_port if each.name in added else None,
                "is_added": each.name in added,
                "has_token": each.name in added and bool(added[each.name].sealed_token),
            }
            for each in commands.list_instances(connection)
        ]

    records.show(records.read(read), nothing="No instances: start the server once.")


@instances_app.command(
    "add",
    epilog="Every server on the same database serves it within about a second, also after a "
    "restart.\n\nExamples:\n\n"
    "`milvane instances add production --uri https://milvus.example.org:19530`\n\n"
    "`MILVANE_INSTANCE_TOKEN=root:Milvus milvane instances add staging --uri http://10.0.0.7:19530 "
    "--grpc-port 19540 --bind text-embedding-v4`",
)
def add_instance(
    name: NameArgument,
    uri: Annotated[str, typer.Option("--uri", help="Where the Milvus listens.")],
    grpc_port: Annotated[
        int | None,
        typer.Option("--grpc-port", help="Where it is offered. [default: the next free one]"),
    ] = None,
    token: Annotated[
        str,
        typer.Option(
            "--token",
            envvar="MILVANE_INSTANCE_TOKEN",
            help="`user:password` or key that it is shown in place of clients' credentials; better "
            "given by the variable, as others on this machine see options.",
        ),
    ] = "",
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="Certificates that its own is checked against.")
    ] = None,
    server_name: Annotated[
        str, typer.Option("--server-name", help="In its certificate, where it is not the host.")
    ] = "",
    services: Annotated[
        list[str] | None,
        typer.Option("--bind", help="A service that it may use; repeat it. [default: all]"),
    ] = None,
    no_bind: Annotated[bool, typer.Option("--no-bind", help="It may use none yet.")] = False,  # noqa: FBT002
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Serve a Milvus elsewhere from now on, at a port of its own."""
    from milvane.bootstrap.ports import port_plan
    from milvane.cli.records import Records
    from milvane.control_plane import additions
    from milvane.domain.errors import InvalidInput
    from milvane.instances.selection import check_remote

    if services and no_bind:
        raise InvalidInput("say --bind or --no-bind, not both")
    records = Records.open(data_dir, config, as_json=as_json)
    certificate = _read_certificate(ca_file)
    check_remote(
        name=name,
        uri=uri,
        grpc_port=grpc_port,
        token=token,
        ca_certificate=certificate,
        server_name=server_name,
    )
    binds_none = no_bind or not (services or records.settings.control.bind_new_instances)
    order = additions.InstanceOrder(
        name=name,
        address=uri,
        grpc_port=grpc_port,
        token=token,
        ca_certificate=certificate,
        server_name=server_name,
        services=[] if binds_none else services,
    )
    ports = port_plan(records.settings)
    port = records.change(
        lambda change: additions.add_instance(change, order, region=records.region, ports=ports)
    )
    where = f"port {port}" if port else "a free port"
    records.tell({"name": name, "grpc_port": port}, f"{name} is served at {where}.")


def _read_certificate(path: Path | None) -> str:
    from milvane.domain.errors import InvalidInput

    if path is None:
        return ""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the file {path} cannot be read: {error}") from error


@instances_app.command("remove", epilog="Example:\n\n`milvane instances remove old-cluster`")
def remove_instance(
    name: NameArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Serve an instance no more, and forget it and its associations; its usage stays."""
    from milvane.cli.records import Records
    from milvane.control_plane import additions

    records = Records.open(data_dir, config, as_json=False)
    in_settings = {each.name for each in records.settings.instances}
    records.change(lambda change: additions.remove_instance(change, name, in_settings=in_settings))
    typer.echo(f"{name} is served no more.")


@associations_app.command(
    "bind",
    epilog="Examples:\n\n`milvane associations bind text-embedding-v4 embedded`\n\n"
    "`milvane associations bind text-embedding-v4 --all`",
)
def bind(
    service: ServiceArgument,
    instances: Annotated[list[str] | None, typer.Argument(help="Names of instances.")] = None,
    all_instances: AllOption = False,  # noqa: FBT002 - an option of the command line
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Let instances use a service: all that are named or, if one cannot, none."""
    from milvane.cli.records import Records
    from milvane.control_plane import commands
    from milvane.domain.errors import InvalidInput

    records = Records.open(data_dir, config, as_json=False)
    if bool(instances) == all_instances:
        raise InvalidInput("name the instances, or say --all")

    def work(change: commands.Change) -> list[str]:
        found = commands.find_service(change.connection, service, records.region)
        named = instances or [
            each.name
            for each in commands.list_instances(change.connection)
            if each.region == records.region
        ]
        return commands.bind(change, found, named)

    bound = records.change(work)
    typer.echo(f"Bound: {', '.join(bound)}." if bound else "They use it already.")


@associations_app.command(
    "unbind", epilog="Example:\n\n`milvane associations unbind text-embedding-v4 embedded`"
)
def unbind(
    service: ServiceArgument,
    instance: Annotated[str, typer.Argument(help="The instance's name.")],
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Take a service from an instance."""
    from milvane.cli.records import Records
    from milvane.control_plane import commands

    records = Records.open(data_dir, config, as_json=False)

    def work(change: commands.Change) -> None:
        found = commands.find_service(change.connection, service, records.region)
        commands.unbind(change, found, instance)

    records.change(work)
    typer.echo(f"{instance} uses {service} no more.")
