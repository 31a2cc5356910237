"""Which runtime runs a set of weights here."""

from __future__ import annotations

import logging
from pathlib import Path

from milvane.domain.errors import Conflict
from milvane.inference.cores import usable_cores
from milvane.inference.encoders.recipe import Recipe
from milvane.inference.runtimes.numpy_network import NumpyNetwork
from milvane.inference.runtimes.openvino_network import OpenvinoNetwork
from milvane.inference.runtimes.port import Runtime
from milvane.inference.runtimes.reading import read_head, read_network
from milvane.inference.settings import Precision

LOG = logging.getLogger(__name__)


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
    network, head = read_network(folder), read_head(folder, recipe)
    threads = threads or usable_cores()
    try:
        return OpenvinoNetwork(network, head, threads=threads, precision=precision)
    except ImportError as error:
        if precision not in ("auto", "f32"):
            raise Conflict(
                f"{precision} needs OpenVINO, which cannot be loaded: {error}"
            ) from error
        LOG.warning("OpenVINO cannot be loaded (%s): NumPy computes, several times slower", error)
        return NumpyNetwork(network, head)
