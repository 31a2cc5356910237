"""The verbs that load and unload weights while servers run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milvane.cli.options import ConfigOption, DataDirOption

NameArgument = Annotated[
    str,
    typer.Argument(help="The name of weights, as `milvane models list` shows them, or a model's."),
]


def add_loading(app: typer.Typer) -> None:
    """Add the verbs to those of models."""
    app.command(epilog="Example:\n\n`milvane models load all-minilm-l6-v2`")(load)
    app.command(epilog="Example:\n\n`milvane models unload all-minilm-l6-v2`")(unload)


def load(name: NameArgument, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Have every server load weights that were unloaded."""
    typer.echo(f"{_switch(name, data_dir, config, on=True)} is loaded, or about to be.")


def unload(name: NameArgument, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """
    Have every server take weights out of its memory once work under way has ended.

    Calls to their models are refused from then on, also after a restart, until they are loaded.
    """
    typer.echo(f"{_switch(name, data_dir, config, on=False)} is unloaded, or about to be.")


def _switch(name: str, data_dir: Path | None, config: Path | None, *, on: bool) -> str:
    from milvane.cli.records import Records
    from milvane.control_plane.loading import switch_weights
    from milvane.domain.catalogue import deploy

    records = Records.open(data_dir, config, as_json=False)
    served_by = {
        str(model): str(found) for model, found in deploy(records.settings.deployments).items()
    }
    weights = served_by.get(name, name)
    deployed = set(served_by.values())
    records.change(lambda change: switch_weights(change, weights, on=on, deployed=deployed))
    return weights
