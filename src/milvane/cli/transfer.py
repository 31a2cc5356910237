"""`milvane migrate`, `export`, `import`: a transfer with a bar, a summary and a way to resume."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from milvane.instances.lite.journal import CollectionKey
from milvane.transfer.copying import (
    Interrupted,
    Outcome,
    StateFile,
    choose,
    copy_collections,
)
from milvane.transfer.opening import open_place

if TYPE_CHECKING:
    from milvane.transfer.places import Source, Target

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be copied, from where to where."""

    source: str
    target: str
    tokens: tuple[str | None, str | None]
    """Of the source and of the target."""
    collections: tuple[str, ...]
    """As the user names them; all if empty."""
    state: Path
    is_resumed: bool


class Bars:
    """Shows how far a transfer is; what the loop tells its watcher."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[CollectionKey, TaskID] = {}

    def begin(self, key: CollectionKey, *, rows: int, done: int) -> None:
        """Show a collection."""
        self._tasks[key] = self._progress.add_task(str(key), total=rows, completed=done)

    def advance(self, key: CollectionKey, rows: int) -> None:
        """Show rows that were written."""
        self._progress.advance(self._tasks[key], rows)

    def verify(self, key: CollectionKey) -> None:
        """Show that a collection is being read back."""
        self._progress.update(self._tasks[key], description=f"{key}: comparing")


def transfer(order: Order) -> int:
    """
    Copy what was asked for; Ctrl-C and SIGTERM leave a state that can be resumed.

    Returns:
        The exit status: 0 if everything arrived, 1 if something differs, 130 if it was stopped.

    Raises:
        ServiceError: If a place cannot be opened, read or written.
    """
    return asyncio.run(_transfer(order))


async def _transfer(order: Order) -> int:
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        source, target = [
            await stack.enter_async_context(open_place(uri, token=token))
            for uri, token in zip((order.source, order.target), order.tokens, strict=True)
        ]
        try:
            outcomes = await asyncio.to_thread(_copy, order, source, target, stop)
        except Interrupted:
            typer.echo(
                f"Stopped. What is done is written down in {order.state}: go on with --resume.",
                err=True,
            )
            return _INTERRUPTED
    return _conclude(outcomes)


def _copy(order: Order, source: Source, target: Target, stop: threading.Event) -> list[Outcome]:
    state = StateFile(order.state)
    progress = state.begin(order.source, order.target, is_resumed=order.is_resumed)
    keys = choose(source.keys(), order.collections)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        outcomes = copy_collections(
            source,
            target,
            keys,
            progress=progress,
            save=state.save,
            watcher=Bars(bars),
            is_stopped=stop.is_set,
        )
    state.remove()
    return outcomes


def _conclude(outcomes: Sequence[Outcome]) -> int:
    for outcome in outcomes:
        typer.echo(_summary(outcome))
        for note in outcome.notes:
            typer.echo(f"  note: {note}")
    broken = [outcome for outcome in outcomes if not outcome.is_whole]
    if not outcomes:
        typer.echo("There is nothing to copy.")
    elif not broken:
        typer.echo(f"All is well: {len(outcomes)} collections, counts and checksums are equal.")
    return 1 if broken else 0


def _summary(outcome: Outcome) -> str:
    copied, found = outcome.copied, outcome.found
    line = f"{outcome.key}: {copied.rows} rows copied, checksum {copied}"
    if found is None:
        return f"{line}; NOT COMPARED: without an index on each vector the target does not read"
    if found != copied:
        return f"{line}; DIFFERENT at the target: {found.rows} rows, checksum {found}"
    if outcome.rows_at_source != copied.rows:
        return f"{line}; the source has {outcome.rows_at_source} rows by now: somebody writes there"
    return f"{line}; the same at the target"
