"""
Writes what a run has averaged as the file that ships: norms folded in, 16-bit numbers.

    python export.py RUN OUTPUT.safetensors
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from evaluate import read_run
from model import PIXELS, Block, Entry
from safetensors.torch import save_file
from torch import Tensor, nn

FORMAT = "milvane-tower-1"
DESCRIPTION = {
    "licence": "Apache-2.0",
    "made by": "training/embedded_pictures in Milvane's repository; see README.md beside this file",
}


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Make one kernel and bias of a convolution and the norm behind it."""
    assert norm.running_var is not None  # noqa: S101 - made with statistics
    assert norm.running_mean is not None  # noqa: S101
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def main() -> None:
    """Write one file."""
    run, output = Path(sys.argv[1]), Path(sys.argv[2])
    tower, texts = read_run(run)
    tensors: dict[str, Tensor] = {
        "head.weight": tower.head.weight,
        "head.bias": tower.head.bias,
        "texts.weight": texts.matrix,
    }
    layers = []
    for at, layer in enumerate(tower.layers):
        if isinstance(layer, Block):
            pairs = [(layer.first, layer.first_norm), (layer.second, layer.second_norm)]
        else:
            assert isinstance(layer, Entry)  # noqa: S101
            pairs = [(layer.convolution, layer.norm)]
        steps = []
        for part, (convolution, norm) in enumerate(pairs):
            kernel, bias = fold(convolution, norm)
            tensors[f"layers.{at}.{part}.kernel"] = kernel
            tensors[f"layers.{at}.{part}.bias"] = bias
            steps.append({"stride": convolution.stride[0], "padding": convolution.padding[0]})
        layers.append(steps)
    written = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    described = {
        **DESCRIPTION,
        "format": FORMAT,
        "layers": json.dumps(layers),
        "side": str(PIXELS),
    }
    save_file(written, output, metadata=described)
    print(output, output.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
