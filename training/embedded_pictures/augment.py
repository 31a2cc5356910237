"""Changes pictures at random, a batch at a time: place, ground, light, colour, blur, grain."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.rand(count) * (high - low) + low


def _chance(count: int, share: float) -> Tensor:
    return torch.rand(count) < share


def _move(
    pictures: Tensor, side: int, *, turn: float, shrink: tuple[float, float], shift: float
) -> Tensor:
    """Turn, scale, squeeze, shift and mirror; what lies outside is nothing."""
    count = len(pictures)
    angle = torch.randn(count) * math.radians(turn)
    scale = torch.exp(_uniform(count, math.log(shrink[0]), math.log(shrink[1])))
    squeeze = torch.exp(torch.randn(count) * 0.09)
    mirror = torch.where(_chance(count, 0.1), -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    moved = torch.randn(2, count) * shift * scale
    matrix = torch.stack(
        [
            torch.stack([cosine * squeeze * mirror, -sine * squeeze * mirror, moved[0]], 1),
            torch.stack([sine / squeeze, cosine / squeeze, moved[1]], 1),
        ],
        1,
    )
    grid = functional.affine_grid(
        matrix, [count, pictures.shape[1], side, side], align_corners=False
    )
    return functional.grid_sample(pictures, grid, align_corners=False)


def _grounds(count: int, side: int) -> Tensor:
    """Paint grounds: white, plain, gradients or blotches of several sizes."""
    colours = torch.rand(count, 3, 1, 1)
    cells = 2 + int(torch.randint(0, 6, ()))
    blotches = functional.interpolate(
        torch.rand(count, 3, cells, cells), (side, side), mode="bilinear", align_corners=True
    )
    strength = _uniform(count, 0, 1)[:, None, None, None] ** 2
    painted = colours * (1 - strength) + blotches * strength
    kind = torch.rand(count)[:, None, None, None]
    plain = torch.where(
        kind < 0.3, torch.ones(()), torch.where(kind < 0.36, torch.zeros(()), colours)
    )
    return torch.where(kind < 0.55, plain.expand_as(painted), painted)


def on_grounds(pictograms: Tensor, side: int) -> Tensor:
    """
    Put pictograms somewhere on a ground.

    Args:
        pictograms: Bytes, shape ``(batch, height, width, 4)``.

        side: Pixels of the result.

    Returns:
        Shape ``(batch, 3, side, side)``, from 0 to 1.
    """
    pixels = pictograms.permute(0, 3, 1, 2).float() / 255
    opaque = torch.cat([pixels[:, :3] * pixels[:, 3:], pixels[:, 3:]], 1)
    # Those that are to be small are halved first: points of a large one would flicker.
    far = len(opaque) // 4
    halved = functional.avg_pool2d(opaque[:far], 2)
    moved = torch.cat(
        [
            _move(halved, side, turn=8, shrink=(1.2, 1.7), shift=0.12),
            _move(opaque[far:], side, turn=8, shrink=(0.92, 1.25), shift=0.06),
        ]
    )
    return moved[:, :3] + _grounds(len(pixels), side) * (1 - moved[:, 3:])


def reframe(scenes: Tensor, side: int) -> Tensor:
    """
    Take a scene in a slightly different frame.

    Args:
        scenes: Bytes, shape ``(batch, height, width, 3)``.

        side: Pixels of the result.

    Returns:
        Shape ``(batch, 3, side, side)``, from 0 to 1.
    """
    pixels = scenes.permute(0, 3, 1, 2).float() / 255
    margin = functional.pad(pixels, (12, 12, 12, 12), mode="replicate")
    return _move(margin, side, turn=3, shrink=(0.72, 0.95), shift=0.03).clamp(0, 1)


def disturb(pictures: Tensor) -> Tensor:
    """
    Change light, colours, sharpness and grain; keeps hues near, for captions name colours.

    Args:
        pictures: Shape ``(batch, 3, side, side)``, from 0 to 1.

    Returns:
        The same shape, from -1 to 1.
    """
    count, _, side, _ = pictures.shape
    light = _uniform(count, 0.7, 1.25)[:, None, None, None]
    contrast = _uniform(count, 0.65, 1.25)[:, None, None, None]
    tint = 1 + torch.randn(count, 3, 1, 1) * 0.06
    middle = pictures.mean((1, 2, 3), keepdim=True)
    pictures = (pictures - middle) * contrast + middle
    pictures = pictures * light * tint
    gray = pictures.mean(1, keepdim=True)
    washed = torch.where(_chance(count, 0.3), torch.rand(count) * 0.6, torch.zeros(()))
    pictures = torch.lerp(pictures, gray.expand_as(pictures), washed[:, None, None, None])
    # Blur, blocks and grain each take a part of the batch, whose order is random.
    few, many = count // 8, count // 2
    coarse = int(torch.randint(side // 3, side // 2 + 1, ()))
    small = functional.interpolate(pictures[:few], (coarse, coarse), mode="area")
    enlarged = functional.interpolate(small, (side, side), mode="bilinear")
    sharp = pictures[few:many]
    blurred = functional.avg_pool2d(sharp, 3, 1, 1, count_include_pad=False)
    softened = torch.lerp(sharp, blurred, torch.rand(many - few, 1, 1, 1))
    grained = pictures[many:]
    grain = torch.rand(count - many, 1, 1, 1) * 0.06
    grained = grained + torch.randn_like(grained) * grain
    pictures = torch.cat([enlarged, softened, grained])
    return pictures.clamp(0, 1) * 2 - 1
