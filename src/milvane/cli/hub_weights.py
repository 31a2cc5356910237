"""`milvane models pull` from a hub: what it will take, how far it is, and what to do next."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from milvane.domain.catalogue import HUB_WEIGHTS, PULLED_FOR, Weights, WeightsName
from milvane.inference.choosing import memory_bytes
from milvane.inference.contents.describing import CONTENT_FAMILIES
from milvane.inference.hub_downloads import Plan, pull_from_hub
from milvane.inference.installed import find_set, folder_name
from milvane.inference.opening_hubs import open_source, usual_hub
from milvane.settings import Settings, hub_environment, weights_dir


def is_on_a_hub(name: str) -> bool:
    """Say whether a name is that of a hub's repository, or of weights that are published there."""
    return WeightsName(name) in HUB_WEIGHTS or "/" in name


def pull_hub_weights(name: str, hub: str | None, settings: Settings) -> None:
    """
    Fetch a set of weights from a hub, with a progress bar.

    Args:
        name: One of the catalogue, or ``organisation/name``.

        hub: ``huggingface`` or ``modelscope``; the usual one if none.

        settings: Say where weights are kept.

    Raises:
        ServiceError: If it cannot be fetched, or is not what its name says; what was fetched is
            kept for the next attempt.
    """
    folder = weights_dir(settings) / folder_name(name)
    source = open_source(name, hub or usual_hub(name), hub_environment())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    remaining = (TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with source.client, Progress(*columns, *remaining, console=console) as progress:
        task = progress.add_task(f"Fetching {name}", total=None)
        pull_from_hub(
            source,
            folder,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            announce=lambda plan: console.print(_statement(name, plan, folder)),
        )
        progress.update(task, description=f"{name}: here and checked", total=1, completed=1)
    weights = find_set(name, weights_dir(settings))
    typer.echo(f"{name}: {folder}", err=True)
    takes_images = weights.family in CONTENT_FAMILIES
    deployment = _deployment(name, takes_images=takes_images)
    typer.echo(f"{_abilities(weights, takes_images=takes_images)} {deployment}", err=True)


def _abilities(weights: Weights, *, takes_images: bool) -> str:
    if takes_images:
        return (
            f"It gives {weights.width} dimensions, to texts and images alike, and runs with "
            "PyTorch: pip install 'milvane[torch]'."
        )
    return f"It gives {weights.width} dimensions and reads {weights.window_tokens} tokens at once."


def _deployment(name: str, *, takes_images: bool) -> str:
    """Say what makes a set serve a model: that of its own family, or else a usual one."""
    own = next((model for model, names in PULLED_FOR.items() if name in names), None)
    model = own or ("multimodal-embedding-v1" if takes_images else "text-embedding-v4")
    return f'To serve a model with it, write under [deployments]: "{model}" = "{name}"'


def _statement(name: str, plan: Plan, folder: Path) -> str:
    return (
        f"{name} takes {plan.size_bytes / 1e9:.2f} GB of disk in {folder.parent}, of which "
        f"{plan.left_bytes / 1e9:.2f} GB are still to be fetched; serving it takes up to about "
        f"{memory_bytes(plan.size_bytes) / 1e9:.1f} GB of memory. "
        f"{_deployment(name, takes_images=plan.takes_images)}"
    )
