"""The verbs of the media store: files put into it, and the access keys that reach it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from milvane.cli.options import ConfigOption, DataDirOption, JsonOption

media_app = typer.Typer(
    help="Images and videos that are kept here, for people without an object store.",
    no_args_is_help=True,
)
media_keys_app = typer.Typer(
    help="Access keys with which `oss2` reaches the media store.", no_args_is_help=True
)
media_app.add_typer(media_keys_app, name="keys")


@media_app.command(
    "put",
    epilog="Examples:\n\n`milvane media put banana.jpg orange.jpg`\n\n"
    "`milvane media put clips/*.mp4 --bucket films --prefix trailers --expires-in 7d`\n\n"
    "`milvane media put a.png --url https://media.example.com --json`",
)
def put(
    files: Annotated[
        list[Path], typer.Argument(help="What to keep.", exists=True, dir_okay=False, readable=True)
    ],
    bucket: Annotated[str, typer.Option("--bucket", help="Where to keep it.")] = "media",
    prefix: Annotated[
        str, typer.Option("--prefix", help="Stands before the files' names, with a slash between.")
    ] = "",
    expires_in: Annotated[
        str, typer.Option("--expires-in", help="How long the addresses are good, such as 7d.")
    ] = "1h",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose they become.")] = "default",
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            help="Address of the HTTP port as whoever reads them reaches it. "
            "[default: media.public_url]",
        ),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """
    Keep files, and print a signed address of each: whoever has it can read the file for a while.

    A file of the same name is replaced. The server may run meanwhile.
    """
    from milvane.cli.media_files import MediaOrder, put_files
    from milvane.cli.records import Records
    from milvane.metering.ranges import parse_span_s

    lasts_s = parse_span_s(expires_in, parameter="expires-in")
    order = MediaOrder(tuple(files), tenant, bucket, prefix, lasts_s, url)
    records = Records.open(data_dir, config, as_json=as_json)
    kept = put_files(records, order)
    records.tell({"files": kept}, "\n".join(each["url"] for each in kept))


@media_keys_app.command(
    "create",
    epilog="Examples:\n\n`milvane media keys create notebook`\n\n"
    "`milvane media keys create ingest --tenant shop --expires-in 90d`",
)
def create_key(
    label: Annotated[str, typer.Argument(help="What it is for.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose objects it reaches.")] = "default",
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="Such as 30d; never if not given.")
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Make an access key, and print what `oss2.Auth` takes."""
    from milvane.cli.media_files import open_keyring
    from milvane.cli.records import Records
    from milvane.media import keys
    from milvane.metering.ranges import parse_span_s

    lasts_s = None if expires_in is None else parse_span_s(expires_in, parameter="expires-in")
    records = Records.open(data_dir, config, as_json=as_json)
    keyring = open_keyring(records)

    def work(change: Any) -> keys.AccessKey:
        expires_at = None if lasts_s is None else change.now + timedelta(seconds=lasts_s)
        key = keys.create_key(
            change.connection, label=label, tenant=tenant, now=change.now, expires_at=expires_at
        )
        change.note("media_key.create", key.access_key_id, label=key.label, tenant=key.tenant)
        return key

    key = records.change(work)
    secret = keyring.secret_of(key.access_key_id)
    records.tell(
        asdict(key) | {"access_key_secret": secret},
        f"OSS_ACCESS_KEY_ID={key.access_key_id}\nOSS_ACCESS_KEY_SECRET={secret}",
    )


@media_keys_app.command("list", epilog="Example:\n\n`milvane media keys list`")
def list_keys(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List all access keys, without their secrets."""
    from milvane.cli.records import Records
    from milvane.media import keys

    records = Records.open(data_dir, config, as_json=as_json)
    found = records.read(keys.list_keys)
    records.show([asdict(key) for key in found], nothing="There are no access keys.")


@media_keys_app.command(
    "revoke", epilog="Example:\n\n`milvane media keys revoke MVM0123456789ABCDEF0123`"
)
def revoke_key(
    access_key_id: Annotated[str, typer.Argument(help="As `milvane media keys list` shows it.")],
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Have an access key open nothing from now on, and with it every address it has signed."""
    from milvane.cli.records import Records
    from milvane.media import keys

    records = Records.open(data_dir, config, as_json=False)

    def work(change: Any) -> None:
        keys.revoke_key(change.connection, access_key_id, change.now)
        change.note("media_key.revoke", access_key_id)

    records.change(work)
    typer.echo(f"{access_key_id} opens nothing any more.")
