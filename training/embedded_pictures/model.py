"""
The tower: a small residual network of convolutions, and the projection of texts beside it.

Convolutions without branches other than the skips, because one processor core trains them, and
every batch norm folds into the convolution before it when the weights are written.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PIXELS = 64
"""Height and width that the tower sees."""

WIDTH = 384
"""Components of a vector, the text model's own."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How wide and how deep each stage is; a stage halves the picture."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    patch: int = 4
    """Pixels that the first convolution makes one cell of."""


SHAPES = {
    "small": Shape((32, 64, 128, 256), (1, 1, 1, 1)),
    "medium": Shape((32, 64, 160, 384), (1, 2, 2, 1)),
    "large": Shape((48, 96, 192, 384), (1, 2, 2, 1)),
}


class Block(nn.Module):
    """Two convolutions beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, states: Tensor) -> Tensor:
        """Add what the convolutions find to what came in."""
        inner = torch.relu(self.first_norm(self.first(states)))
        return torch.relu(states + self.second_norm(self.second(inner)))


class Entry(nn.Module):
    """A convolution that makes cells of patches."""

    def __init__(self, inputs: int, width: int, patch: int, kernel: int) -> None:
        super().__init__()
        padding = (kernel - patch + 1) // 2
        self.convolution = nn.Conv2d(inputs, width, kernel, patch, padding, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, states: Tensor) -> Tensor:
        """Shrink the picture."""
        return torch.relu(self.norm(self.convolution(states)))


class Tower(nn.Module):
    """Pictures in, vectors of the text model's width out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for stage, (width, blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
            # The first kernel overlaps its neighbours: edges matter more than speed there.
            layers.append(
                Entry(inputs, width, shape.patch, 7) if not stage else Entry(inputs, width, 2, 3)
            )
            layers += [Block(width) for _ in range(blocks)]
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, WIDTH)

    def forward(self, pictures: Tensor) -> Tensor:
        """
        Embed pictures.

        Args:
            pictures: Shape ``(batch, 3, PIXELS, PIXELS)``, from -1 to 1.

        Returns:
            Shape ``(batch, WIDTH)``, of any length.
        """
        states = self.layers(pictures)
        return self.head(states.float().mean((2, 3)))
