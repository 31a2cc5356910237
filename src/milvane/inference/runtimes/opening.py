"""Which runtime runs a set of weights here."""

from __future__ import annotations

import logging
from pathlib import Path

from milvane.domain.errors import Conflict
from milvane.inference.cores import usable_cores
from milvane.inference.runtimes.bert_checkpoint import read_checkpoint
from milvane.inference.runtimes.numpy_bert import NumpyBert
from milvane.inference.runtimes.openvino_bert import OpenvinoBert
from milvane.inference.runtimes.port import Runtime
from milvane.inference.settings import Precision

LOG = logging.getLogger(__name__)


def open_bert(folder: Path, *, threads: int, precision: Precision) -> Runtime:
    """
    Load a BERT network with the fastest runtime that this machine has. Blocks.

    Args:
        folder: Holds ``config.json`` and ``model.safetensors``.

        threads: Cores that compute; 0 takes all that the process may use.

        precision: As in the settings.

    Raises:
        Conflict: If the files do not hold such a network, or the precision cannot be had.
    """
    checkpoint = read_checkpoint(folder)
    try:
        return OpenvinoBert(checkpoint, threads=threads or usable_cores(), precision=precision)
    except ImportError as error:
        if precision == "bf16":
            raise Conflict(f"bf16 needs OpenVINO, which cannot be loaded: {error}") from error
        LOG.warning("OpenVINO cannot be loaded (%s): NumPy computes, several times slower", error)
        return NumpyBert(checkpoint)
