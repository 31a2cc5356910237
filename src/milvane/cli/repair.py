"""`milvane doctor --repair`: the plan, what was done, and what is left to a person."""

from __future__ import annotations

from pathlib import Path

import typer

from milvane.domain.errors import NotFound
from milvane.instances.lite.repair import Step
from milvane.instances.lite.repair_files import plan_directory, repair_directory


def repair_and_report(data_dir: Path, *, has_consent: bool) -> int:
    """
    Repair the embedded engine's files, and say what was done.

    Args:
        data_dir: No server may run on it.

        has_consent: Losses are accepted.

    Returns:
        The exit status: 0 if nothing is left.

    Raises:
        NotFound: If there is no such folder.
        Conflict: If a server runs on it.
    """
    if not data_dir.is_dir():
        raise NotFound(f"there is no data directory {data_dir}")
    plan = plan_directory(data_dir)
    typer.echo(f"Plan for {data_dir}")
    _print(plan, data_dir)
    outcome = repair_directory(data_dir, has_consent=has_consent)
    typer.echo("\nDone")
    _print([step for step in outcome.planned if step not in outcome.left], data_dir)
    if outcome.backup is not None:
        typer.echo(f"  copies of all that was changed are in {outcome.backup}")
    if outcome.left:
        typer.echo("\nLeft: these give something up; restore a backup, or add --yes")
        _print(outcome.left, data_dir)
    return 1 if outcome.left else 0


def _print(steps: list[Step], data_dir: Path) -> None:
    for step in steps:
        where = step.path.relative_to(data_dir)
        typer.echo(f"  {step.action.value} {where}: {step.reason}")
    if not steps:
        typer.echo("  nothing")
