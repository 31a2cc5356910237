"""Scaling pixels on the device, where they take a quarter of the way as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from milvane.inference.contents.networks.device import Device


class Shade:
    """Turns bytes of pixels into what a network was trained with."""

    def __init__(self, device: Device, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Remember what is taken off each channel, and what it is divided by."""
        torch = device.torch
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device.name)
        self._deviation = torch.tensor(deviation, dtype=torch.float32, device=device.name)

    def __call__(self, pixels: Any) -> Any:
        """
        Scale pixels.

        Args:
            pixels: A tensor of bytes on the device, channels second.
        """
        shape = (1, -1, *([1] * (pixels.ndim - 2)))
        scaled = pixels.float() / 255.0
        return (scaled - self._mean.view(shape)) / self._deviation.view(shape)
