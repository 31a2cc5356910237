"""The tower as its file has it: convolutions in order, and a head."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from milvane.domain.errors import Conflict

FORMAT = "milvane-tower-1"
"""Says in a file's metadata how it is to be read."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution over whole cells; what was a norm behind it is in its numbers."""

    kernel: Floats
    """Shape ``(out, in, height, width)``."""
    bias: Floats
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Block:
    """Two convolutions beside a skip."""

    first: Convolution
    second: Convolution


Layer = Convolution | Block


@dataclass(frozen=True, slots=True)
class Tower:
    """A network of pictures, and the projection of texts that goes with it."""

    layers: tuple[Layer, ...]
    head: Floats
    """Shape ``(width, channels)``: from the mean of all cells to a vector."""
    head_bias: Floats
    texts: Floats
    """Shape ``(width, width)``: from a vector of the text model to one of this space."""
    side: int
    """Pixels of the square that it takes."""

    @property
    def width(self) -> int:
        """Components of a vector."""
        return len(self.head)

    @property
    def cells(self) -> int:
        """Cells of the last map: what a picture counts as in tokens."""
        side = self.side
        for layer in self.layers:
            if isinstance(layer, Convolution):
                reach = layer.kernel.shape[-1]
                side = (side + 2 * layer.padding - reach) // layer.stride + 1
        return side * side


def read_tower(path: Path) -> Tower:
    """
    Read a tower.

    Raises:
        Conflict: If the file is not one.
    """
    try:
        with safe_open(path, framework="np") as stored:
            described = stored.metadata() or {}
            if described.get("format") != FORMAT:
                raise Conflict(f"{path} is not a tower of the format {FORMAT}")
            names = stored.keys()
            tensors = {name: stored.get_tensor(name).astype(np.float32) for name in names}
    except (OSError, SafetensorError) as error:
        raise Conflict(f"{path} cannot be read: {error}") from error
    try:
        return _assemble(tensors, described)
    except (KeyError, TypeError, ValueError) as error:
        raise Conflict(f"{path} lacks a part of the tower: {error}") from error


def _assemble(tensors: dict[str, Floats], described: dict[str, str]) -> Tower:
    layers: list[Layer] = []
    for at, steps in enumerate(json.loads(described["layers"])):
        convolutions = [
            Convolution(
                tensors[f"layers.{at}.{part}.kernel"],
                tensors[f"layers.{at}.{part}.bias"],
                int(step["stride"]),
                int(step["padding"]),
            )
            for part, step in enumerate(steps)
        ]
        layers.append(Block(*convolutions) if len(convolutions) == 2 else convolutions[0])
    return Tower(
        layers=tuple(layers),
        head=tensors["head.weight"],
        head_bias=tensors["head.bias"],
        texts=tensors["texts.weight"],
        side=int(described["side"]),
    )
