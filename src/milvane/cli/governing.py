"""The verbs that govern: services, keys, quotas, operators, usage, audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from milvane.cli.instances import associations_app, instances_app
from milvane.cli.options import ConfigOption, DataDirOption, JsonOption, ServiceArgument

ShadowOption = Annotated[bool, typer.Option("--shadow", help="Only count what it would refuse.")]
KeyArgument = Annotated[str, typer.Argument(help="A key's id, as `milvane keys list` shows it.")]

services_app = typer.Typer(
    help="The embedding services: which models are offered.", no_args_is_help=True
)
keys_app = typer.Typer(help="API keys.", no_args_is_help=True)
quotas_app = typer.Typer(help="Limits of keys, tenants and associations.", no_args_is_help=True)
operators_app = typer.Typer(help="Who may sign in to the console.", no_args_is_help=True)


def add_governing(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(services_app, name="services")
    app.add_typer(instances_app, name="instances")
    app.add_typer(associations_app, name="associations")
    app.add_typer(keys_app, name="keys")
    app.add_typer(quotas_app, name="quotas")
    app.add_typer(operators_app, name="operators")
    app.command(
        epilog="Examples:\n\n`milvane usage`\n\n"
        "`milvane usage --instance embedded --since 24h --step 1h`\n\n"
        "`milvane usage --since 2026-11-01 --by model --json`"
    )(usage)
    app.command(epilog="Example:\n\n`milvane audit --limit 20`")(audit)


# --- services ------------------------------------------------------------------------------------


@services_app.command("list", epilog="Example:\n\n`milvane services list`")
def list_services(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List the embedding services of this region, and which instances use each."""
    from milvane.cli.records import Records
    from milvane.control_plane import commands

    records = Records.open(data_dir, config, as_json=as_json)

    def read(connection: Any) -> list[dict[str, Any]]:
        bound = commands.list_associations(connection)
        return [
            asdict(service)
            | {"instances": [b.instance for b in bound if b.service_id == service.service_id]}
            for service in commands.list_services(connection, records.region)
        ]

    records.show(records.read(read), nothing="No services yet: start the server once.")


@services_app.command("enable", epilog="Example:\n\n`milvane services enable text-embedding-v4`")
def enable_service(
    service: ServiceArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Offer a model."""
    _switch(service, data_dir, config, on=True)


@services_app.command("disable", epilog="Example:\n\n`milvane services disable text-embedding-v1`")
def disable_service(
    service: ServiceArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Offer a model no more; functions that use it are refused from then on."""
    _switch(service, data_dir, config, on=False)


def _switch(name: str, data_dir: Path | None, config: Path | None, *, on: bool) -> None:
    from milvane.cli.records import Records
    from milvane.control_plane import commands

    records = Records.open(data_dir, config, as_json=False)

    def work(change: commands.Change) -> str:
        service = commands.find_service(change.connection, name, records.region)
        commands.switch_service(change, service, on=on)
        return service.model

    typer.echo(f"{records.change(work)} is {'enabled' if on else 'disabled'}.")


# --- keys ----------------------------------------------------------------------------------------


@keys_app.command("list", epilog="Example:\n\n`milvane keys list`")
def list_keys(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List all keys; what opens is not among what is known of them."""
    from milvane.cli.records import Records
    from milvane.control_plane.keys import read_keys

    records = Records.open(data_dir, config, as_json=as_json)
    found = records.read(read_keys)
    records.show([asdict(key) for key in found.values()], nothing="There are no keys.")


@keys_app.command(
    "create",
    epilog="Examples:\n\n`milvane keys create laptop`\n\n"
    "`milvane keys create ci --tenant build --scope embed --expires-in 30d`",
)
def create_key(
    label: Annotated[str, typer.Argument(help="What it is for.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose use it is.")] = "default",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="embed, milvus or manage; repeat it. [default: embed milvus]"),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="Such as 30d; never if not given.")
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Make a key; it is printed once, and is nowhere else."""
    from milvane.control_plane import keys
    from milvane.metering.ranges import parse_span_s

    scopes = frozenset(_scope(name) for name in scope or ("embed", "milvus"))
    lasts_s = expires_in and parse_span_s(expires_in, parameter="expires-in")

    def work(change: Any) -> Any:
        expires_at = change.now + timedelta(seconds=float(lasts_s)) if lasts_s else None
        return keys.create_key(
            change, label=label, tenant=tenant, scopes=scopes, expires_at=expires_at
        )

    _print_new_key(work, data_dir, config, as_json=as_json)


@keys_app.command("rotate", epilog="Example:\n\n`milvane keys rotate key-0123456789ab`")
def rotate_key(
    key_id: KeyArgument,
    overlap: Annotated[
        str, typer.Option("--overlap", help="How long the old key stays good.")
    ] = "1h",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Make a key in the place of another, which stays good for a while."""
    from milvane.control_plane import keys
    from milvane.metering.ranges import parse_span_s

    overlap_s = parse_span_s(overlap, parameter="overlap")
    work = partial(keys.rotate_key, key_id=key_id, overlap_s=overlap_s)
    _print_new_key(work, data_dir, config, as_json=as_json)


@keys_app.command("revoke", epilog="Example:\n\n`milvane keys revoke key-0123456789ab`")
def revoke_key(
    key_id: KeyArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Have a key open nothing from now on."""
    from milvane.cli.records import Records
    from milvane.control_plane import keys

    records = Records.open(data_dir, config, as_json=False)
    records.change(partial(keys.revoke_key, key_id=key_id))
    typer.echo(f"{key_id} opens nothing any more.")


def _scope(name: str) -> Any:
    from milvane.domain.control import Scope
    from milvane.domain.errors import InvalidInput

    try:
        return Scope(name)
    except ValueError as error:
        known = ", ".join(each.value for each in Scope)
        raise InvalidInput(f"{name!r} is not a scope; there are: {known}") from error


def _print_new_key(
    work: Callable[[Any], Any], data_dir: Path | None, config: Path | None, *, as_json: bool
) -> None:
    from milvane.cli.records import Records

    records = Records.open(data_dir, config, as_json=as_json)
    key, secret = records.change(work)
    records.tell(
        asdict(key) | {"secret": secret},
        f"{secret}\n\nThis is {key.key_id} ({key.label}, tenant {key.tenant}). It is shown once.",
    )


# --- quotas --------------------------------------------------------------------------------------


@quotas_app.command("list", epilog="Example:\n\n`milvane quotas list`")
def list_quotas(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List all limits."""
    from milvane.cli.records import Records
    from milvane.control_plane import commands

    records = Records.open(data_dir, config, as_json=as_json)
    rows = []
    for quota in records.read(commands.list_quotas):
        limits = asdict(quota)
        del limits["subject"]
        rows.append({"kind": quota.subject.kind, "name": quota.subject.name} | limits)
    records.show(rows, nothing="There are no quotas.")


@quotas_app.command(
    "set",
    epilog="Examples:\n\n`milvane quotas set tenant north --tokens-per-month 50000000`\n\n"
    "`milvane quotas set association embedded/text-embedding-v4 --requests-per-minute 600 "
    "--shadow`\n\n`milvane quotas set key key-0123456789ab`",
)
def set_quota(
    kind: Annotated[str, typer.Argument(help="key, tenant or association.")],
    name: Annotated[str, typer.Argument(help="Its name; an association is `instance/model`.")],
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Filled steadily; a minute's worth may come at once.")
    ] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="As requests.")] = None,
    tokens_per_month: Annotated[
        int | None, typer.Option(help="Of a calendar month, in UTC.")
    ] = None,
    concurrent_requests: Annotated[int | None, typer.Option(help="At the same time.")] = None,
    shadow: ShadowOption = False,  # noqa: FBT002 - an option of the command line
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Set limits in place of those that there are; without any, there is none."""
    from milvane.cli.records import Records
    from milvane.control_plane import commands
    from milvane.domain.control import Quota, QuotaKind, QuotaSubject
    from milvane.domain.errors import InvalidInput

    if kind not in {each.value for each in QuotaKind}:
        raise InvalidInput(f"{kind!r} has no quota: say key, tenant or association")
    quota = Quota(
        QuotaSubject(QuotaKind(kind), name),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        tokens_per_month=tokens_per_month,
        concurrent_requests=concurrent_requests,
        is_shadow=shadow,
    )
    records = Records.open(data_dir, config, as_json=False)
    records.change(partial(commands.set_quota, quota=quota))
    typer.echo(f"The limits of {kind} {name} are set.")


# --- operators -----------------------------------------------------------------------------------


@operators_app.command("set-password", epilog="Example:\n\n`milvane operators set-password admin`")
def set_password(
    name: Annotated[str, typer.Argument(help="Who signs in with it.")] = "admin",
    password: Annotated[
        str,
        typer.Option(
            "--password",
            envvar="MILVANE_OPERATOR_PASSWORD",
            prompt=True,
            hide_input=True,
            confirmation_prompt=True,
            help="Asked for if not given.",
        ),
    ] = "",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Set an operator's password; all their sessions end."""
    from milvane.cli.records import Records
    from milvane.control_plane.operators import check_password, hash_password, store_password

    check_password(password)
    records = Records.open(data_dir, config, as_json=False)
    records.change(partial(store_password, operator=name, hashed=hash_password(password)))
    typer.echo(f"{name} signs in with the new password.")


# --- usage and audit -----------------------------------------------------------------------------


def usage(
    since: Annotated[str, typer.Option("--since", help="So long ago, or ISO 8601.")] = "24h",
    until: Annotated[str, typer.Option("--until", help="As --since.")] = "now",
    step: Annotated[
        str | None, typer.Option("--step", help="Width of a row, such as 1m; one row if absent.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only these.")] = None,
    instance: Annotated[list[str] | None, typer.Option("--instance", help="Only these.")] = None,
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Only these.")] = None,
    by: Annotated[
        str, typer.Option("--by", help="model, instance, operation, tenant, caller or nothing.")
    ] = "model",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Show what was used: requests, tokens, success rate, response times, and the hosted price."""
    from milvane.cli.records import Records
    from milvane.cli.usage import UsageOrder, read_usage

    records = Records.open(data_dir, config, as_json=as_json)
    order = UsageOrder(
        since=since,
        until=until,
        step=step,
        models=model or (),
        instances=instance or (),
        tenants=tenant or (),
        group_by=by,
    )
    records.show(read_usage(records, order), nothing="Nothing was used in that time.")


def audit(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Entries.")] = 50,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List who changed what, newest first."""
    from milvane.cli.records import Records
    from milvane.control_plane import commands

    records = Records.open(data_dir, config, as_json=as_json)
    entries = records.read(partial(commands.list_audit, limit=limit))
    records.show([asdict(entry) for entry in entries], nothing="Nothing has been changed yet.")
