"""The tower through OpenVINO on the CPU, its graph built straight from the tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Internal
from milvane.inference.cores import usable_cores
from milvane.inference.pictures.tower import Block, Convolution, Tower
from milvane.inference.runtimes.openvino_library import load_openvino
from milvane.inference.runtimes.openvino_network import DEVICE
from milvane.inference.runtimes.openvino_requests import CompiledRequests

Node = Any
"""An OpenVINO node; the library has no types of its own."""


class TowerNetwork:
    """A tower, compiled; as many passes run at once as there are threads."""

    def __init__(self, tower: Tower, *, threads: int) -> None:
        """
        Build and compile the network, some tenths of a second.

        Args:
            tower: Whose numbers it has.

            threads: Cores that compute; 0 for all that the process may use.

        Raises:
            Internal: If OpenVINO cannot compile it.
        """
        ov = load_openvino()  # heavy: only when a tower is opened

        self.name = f"OpenVINO {ov.get_version().split('-')[0]}"
        self.precision = "f32"
        self.threads = threads or usable_cores()
        self.width = tower.width
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": self.threads,
            "INFERENCE_NUM_THREADS": self.threads,
            "ENABLE_CPU_PINNING": False,
        }

        def compile_anew() -> list[Any]:
            try:
                compiled = ov.Core().compile_model(_build(ov, tower), DEVICE, options)
                return [compiled.create_infer_request() for _ in range(self.threads)]
            except RuntimeError as error:
                raise Internal(f"OpenVINO cannot compile the tower: {error}") from error

        self._requests = CompiledRequests(compile_anew(), compile_anew)

    def forward(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """
        Run the network over pictures; blocks, and may be called from any thread.

        Args:
            pictures: Red, green, blue; shape ``(side, side, 3)`` each.

        Returns:
            Shape ``(pictures, width)``, not normalized. A row does not depend on the others.

        Raises:
            Internal: If OpenVINO cannot run it.
        """
        try:
            return self._requests.run(np.stack(pictures))
        except RuntimeError as error:
            raise Internal(f"OpenVINO cannot run the tower: {error}") from error


def _build(ov: Any, tower: Tower) -> Any:
    ops = ov.opset13

    def floats(values: Any) -> Node:
        return ops.constant(np.asarray(values, np.float32))

    def convolve(states: Node, step: Convolution) -> Node:
        strides, pads = [step.stride] * 2, [step.padding] * 2
        found = ops.convolution(states, floats(step.kernel), strides, pads, pads, [1, 1])
        return ops.add(found, floats(step.bias[None, :, None, None]))

    pictures = ops.parameter([-1, tower.side, tower.side, 3], np.uint8, name="pictures")
    scaled = ops.subtract(
        ops.multiply(ops.convert(pictures, "f32"), floats(1 / 127.5)), floats(1.0)
    )
    states = ops.transpose(scaled, ops.constant(np.array([0, 3, 1, 2], np.int64)))
    for layer in tower.layers:
        if isinstance(layer, Block):
            inner = ops.relu(convolve(states, layer.first))
            states = ops.relu(ops.add(states, convolve(inner, layer.second)))
        else:
            states = ops.relu(convolve(states, layer))
    mean = ops.reduce_mean(states, ops.constant(np.array([2, 3], np.int64)), keep_dims=False)
    product = ops.matmul(mean, floats(tower.head), False, True)  # noqa: FBT003
    return ov.Model([ops.add(product, floats(tower.head_bias))], [pictures], "tower")
