"""Which runtime runs a set of weights here."""

from __future__ import annotations

import logging
from pathlib import Path

from milvane.domain.errors import Conflict
from milvane.inference.cores import usable_cores
from milvane.inference.encoders.recipe import Recipe
from milvane.inference.runtimes.network import Head
from milvane.inference.runtimes.numpy_network import NumpyNetwork
from milvane.inference.runtimes.openvino_network import OpenvinoNetwork
from milvane.inference.runtimes.port import Runtime
from milvane.inference.runtimes.reading import FAMILIES, read_family, read_head, reader_of
from milvane.inference.runtimes.torch_network import (
    TorchNetwork,
    has_accelerator,
    is_torch_installed,
)
from milvane.inference.settings import Precision

LOG = logging.getLogger(__name__)

_LIGHT_ONLY = ("new",)
"""Families that transformers runs with code from the hub only, which is not run here."""


def open_runtime(folder: Path, recipe: Recipe, *, threads: int, precision: Precision) -> Runtime:
    """
    Load a network with the fastest runtime that this machine has. Blocks.

    Args:
        folder: Holds ``config.json`` and the tensors.

        recipe: Says what becomes of the network's states.

        threads: Cores that compute; 0 takes all that the process may use.

        precision: As in the settings.

    Raises:
        Conflict: If the files do not hold such a network, or the precision cannot be had.
    """
    head = read_head(folder, recipe)
    family = read_family(folder)
    if family not in FAMILIES or (family not in _LIGHT_ONLY and has_accelerator()):
        return _open_torch(folder, head, precision)
    reread = reader_of(folder)
    network = reread()
    threads = threads or usable_cores()
    try:
        return OpenvinoNetwork(
            network,
            head,
            threads=threads,
            precision=precision,
            reread=reread,
        )
    except ImportError as error:
        if precision not in ("auto", "f32"):
            raise Conflict(
                f"{precision} needs OpenVINO, which cannot be loaded: {error}"
            ) from error
        LOG.warning("OpenVINO cannot be loaded (%s): NumPy computes, several times slower", error)
        return NumpyNetwork(network, head)


def _open_torch(folder: Path, head: Head, precision: Precision) -> Runtime:
    if not is_torch_installed():
        family = read_family(folder)
        raise Conflict(
            f"{folder / 'config.json'} does not describe a network that runs here: model_type is "
            f"{family!r}, known are {', '.join(FAMILIES)}; others run with PyTorch: "
            "pip install 'milvane[torch]'"
        )
    return TorchNetwork(folder, head, precision=precision)
