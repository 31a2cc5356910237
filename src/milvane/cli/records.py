"""How verbs that govern reach the database, and how they show what they found."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from milvane.control_plane.commands import Change
from milvane.settings import Settings, load_settings
from milvane.storage.database import Database
from milvane.storage.files import utc_now

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Records:
    """The database of the settings; a running server sees changes within about a second."""

    settings: Settings
    as_json: bool

    @classmethod
    def open(cls, data_dir: Path | None, config: Path | None, *, as_json: bool) -> Records:
        """Find the database by the settings."""
        flags = {"server": {"data_dir": data_dir}} if data_dir is not None else {}
        return cls(load_settings(flags, file=config).settings, as_json)

    @property
    def region(self) -> str:
        """The region of the settings."""
        return self.settings.control.region

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Look something up."""
        return asyncio.run(self.run(lambda database: database.read(work)))

    def change(self, work: Callable[[Change], Result]) -> Result:
        """Make a change in one transaction, in the name of the user of this machine."""

        def transact(connection: Connection) -> Result:
            return work(Change(connection, f"cli:{_user()}", utc_now()))

        return asyncio.run(self.run(lambda database: database.write(transact)))

    async def run(self, work: Callable[[Database], Awaitable[Result]]) -> Result:
        """Do something with the open database."""
        async with Database(self.settings.storage, self.settings.server.data_dir) as database:
            return await work(database)

    def show(self, rows: Sequence[Mapping[str, Any]], *, nothing: str) -> None:
        """Print rows: a table for a person, or a JSON list for a script."""
        if self.as_json:
            typer.echo(orjson.dumps(list(rows), default=_plain, option=orjson.OPT_INDENT_2))
        elif not rows:
            typer.echo(nothing)
        else:
            print_table(rows)

    def tell(self, fact: Mapping[str, Any], sentence: str) -> None:
        """Print what was done: a sentence for a person, or JSON for a script."""
        if self.as_json:
            typer.echo(orjson.dumps(fact, default=_plain, option=orjson.OPT_INDENT_2))
        else:
            typer.echo(sentence)


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under their names, as wide as they are where the output is no terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    console = Console()
    # A file or a pipe has no width: what is cut there cannot be found again.
    if not console.is_terminal:
        console = Console(width=10_000)
    console.print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(sorted(_shown(each) for each in value)) or "-"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(_plain(each) for each in value)
    return str(value)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"
