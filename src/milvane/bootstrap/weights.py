"""Which weights a server runs, and what it says about them once."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from milvane.domain.catalogue import PICTURE_WEIGHTS, WEIGHTS, WeightsName, deploy
from milvane.domain.embedded import EMBEDDED_PICTURES
from milvane.domain.models import ModelName
from milvane.inference.weights import is_present
from milvane.settings import Settings, weights_dir

logger = logging.getLogger(__name__)

TEXT_WEIGHTS = WeightsName(EMBEDDED_PICTURES.text_weights)
"""What the weights of the package that see go with."""

NEEDS: Mapping[WeightsName, WeightsName] = {PICTURE_WEIGHTS: TEXT_WEIGHTS}
"""Weights that only run beside others, which are loaded before them and unloaded after them."""


def choose_weights(settings: Settings) -> Mapping[ModelName, WeightsName]:
    """
    Say which weights serve each model, given what an operator chose and what is here.

    The weights of the package that see need a text model; where the operator has replaced that one
    everywhere and never fetched it, nothing serves their models.
    """
    served = deploy(settings.deployments)
    serves_texts = TEXT_WEIGHTS in served.values()
    if serves_texts or is_present(WEIGHTS[TEXT_WEIGHTS], weights_dir(settings)):
        return served
    left_out = [name for name, weights in served.items() if weights == PICTURE_WEIGHTS]
    if left_out:
        logger.warning(
            "%s: not served, for the weights that see need %s beside them: "
            "run `milvane models pull %s`, or deploy others",
            ", ".join(left_out),
            TEXT_WEIGHTS,
            TEXT_WEIGHTS,
        )
    return {name: weights for name, weights in served.items() if weights != PICTURE_WEIGHTS}


def names_to_load(served_by: Mapping[ModelName, WeightsName]) -> list[WeightsName]:
    """List the weights that have to run, those that others go with before them."""
    names = list(dict.fromkeys(served_by.values()))
    if PICTURE_WEIGHTS in names:
        names.remove(PICTURE_WEIGHTS)
        names = [*dict.fromkeys([*names, TEXT_WEIGHTS]), PICTURE_WEIGHTS]
    return names


def tell_stand_ins(served_by: Mapping[ModelName, WeightsName]) -> None:
    """Say once in the log that weights of the package stand in for models of hosted services."""
    standing_in = [name for name, weights in served_by.items() if weights == PICTURE_WEIGHTS]
    if standing_in:
        logger.info(
            "%s stand in for %s: %s. Each answer says so in x-milvane-weights",
            PICTURE_WEIGHTS,
            ", ".join(standing_in),
            EMBEDDED_PICTURES.note,
        )
