"""Loading a network with transformers: all of it from the files, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from milvane.domain.errors import Conflict
from milvane.inference.contents.networks.device import Device

LOG = logging.getLogger(__name__)


def load(kind: Any, folder: Path, device: Device, *, attention: str = "sdpa") -> Any:
    """
    Load a network onto a device. Blocks, seconds to minutes.

    Args:
        kind: The class of transformers that runs it.

        folder: Holds ``config.json`` and the tensors; code beside them is never run.

        device: Where it will run.

        attention: How transformers computes it.

    Raises:
        Conflict: If a file is damaged or holds another network, or a number in it is none.
    """
    _be_quiet()
    try:
        network, report = kind.from_pretrained(
            folder,
            dtype=device.dtype,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # the library raises many kinds
        raise Conflict(f"{folder} cannot be run by transformers: {error}") from error
    refuse_gaps(report.get("missing_keys", ()), report.get("mismatched_keys", ()), folder)
    return settle(network, folder, device)


def _be_quiet() -> None:
    """Keep progress bars off the server's log."""
    from transformers.utils import logging as told  # heavy: only when a network is opened

    told.disable_progress_bar()


def settle(network: Any, folder: Path, device: Device) -> Any:
    """
    Make a loaded network ready to compute.

    Raises:
        Conflict: If a number in it is none.
    """
    for name, tensor in network.named_parameters():
        if not bool(device.torch.isfinite(tensor).all()):
            raise Conflict(f"{folder}: {name} holds numbers that are not finite: pull it again")
    network.requires_grad_(requires_grad=False)
    return network.eval().to(device.name)


def refuse_gaps(missing: Sequence[Any], mismatched: Sequence[Any], folder: Path) -> None:
    """
    Refuse files that do not hold the whole network: what is missing would be made up at random.

    Raises:
        Conflict: If a tensor is missing or has another shape.
    """
    odd = [str(name) for name in missing] + [str(each[0]) for each in mismatched]
    if odd:
        raise Conflict(
            f"{folder} does not hold this network: {len(odd)} tensors are missing or have another "
            f"shape, {sorted(odd)[0]} among them; pull it again"
        )
