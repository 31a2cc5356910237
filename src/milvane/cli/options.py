"""Options and arguments that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of collections and all other state."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings; see `milvane doctor` for all of them."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
ServiceArgument = Annotated[str, typer.Argument(help="A service's id, or its model.")]
