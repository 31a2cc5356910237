"""`milvane models compare`: what each precision costs a set of weights, on its own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

import typer

from milvane.domain.catalogue import Weights, WeightsName, deploy
from milvane.domain.embedded import EMBEDDED_PICTURES
from milvane.domain.errors import InvalidInput
from milvane.domain.models import ModelName
from milvane.inference.comparing import COMPARED_TEXTS, compare_precisions
from milvane.inference.contents.describing import CONTENT_FAMILIES
from milvane.inference.installed import find_set
from milvane.inference.settings import Precision
from milvane.settings import Settings, weights_dir

LEAST_TEXTS = 3


def print_comparison(
    name: str,
    precisions: Sequence[str],
    settings: Settings,
    *,
    reference: str,
    file: Path | None,
) -> None:
    """
    Print how near each precision's vectors are to the reference's, a line for each.

    Raises:
        InvalidInput: If these weights take images, a precision is none, or the file cannot be read
            or is too short.

        ServiceError: If the weights are not here, or do not run in one of the precisions.
    """
    texts = COMPARED_TEXTS if file is None else _read_texts(file)
    deployed = deploy(settings.deployments).get(ModelName(name), WeightsName(name))
    weights = _find(settings.inference.weights_of(deployed), settings)
    chosen, compared_with = [_precision(each) for each in precisions], _precision(reference)
    typer.echo(f"{weights.name}, {len(texts)} texts, compared with {reference}\n")
    typer.echo(f"{'precision':<11}{'least cosine':>13}{'median':>9}{'nearest text kept':>20}")
    compared = compare_precisions(
        weights,
        weights_dir(settings),
        chosen,
        reference=compared_with,
        texts=texts,
        threads=settings.inference.threads,
    )
    for each in compared:
        typer.echo(
            f"{each.precision:<11}{each.least_cosine:>13.4f}{each.median_cosine:>9.4f}"
            f"{each.neighbours_kept:>20.0%}"
        )


def _find(name: str, settings: Settings) -> Weights:
    weights = None
    if name != EMBEDDED_PICTURES.name:
        weights = find_set(name, weights_dir(settings))
    if weights is None or weights.family in CONTENT_FAMILIES:
        raise InvalidInput(f"{name} take images: compared are weights for texts alone")
    return weights


def _precision(name: str) -> Precision:
    known = get_args(Precision)
    if name not in known:
        raise InvalidInput(f"{name} is no precision: known are {', '.join(known)}")
    return cast("Precision", name)


def _read_texts(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from error
    texts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(texts) < LEAST_TEXTS:
        raise InvalidInput(f"{file} needs at least {LEAST_TEXTS} different texts, one in a line")
    return texts
