"""Products of states and matrices in OpenVINO's graph, of floats or of 8-bit integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from milvane.inference.runtimes.openvino_constants import Constants
from milvane.inference.runtimes.stored import Stored

Node = Any
"""An OpenVINO node; the library has no types of its own."""

_TINY = 1e-12
_LARGEST = 127.0


class Products:
    """Multiplies states with a checkpoint's matrices."""

    def __init__(self, ov: Any, constants: Constants, *, rounds_states: bool) -> None:
        """
        Choose how.

        Args:
            ov: The library.

            constants: Keep the matrices.

            rounds_states: Round states to 8 bits too, each token's by its own largest number, so
                that integers are multiplied.
        """
        self._ov = ov
        self._ops = ov.opset13
        self.constants = constants
        self._rounds_states = rounds_states
        self._states: Node = None
        self._rounded: tuple[Node, Node] = (None, None)

    def multiply(self, states: Node, weight: Stored) -> Node:
        """Multiply states of shape ``(..., in)`` with a matrix of shape ``(out, in)``."""
        ops = self._ops
        if self.constants.precision == "bf16" and weight.kind == "bf16":
            # Said in bf16: a matrix that is widened in the graph is kept in f32 as well.
            narrow, lent = ops.convert(states, "bf16"), self.constants.lend(weight)
            return ops.convert(ops.matmul(narrow, lent, False, True), "f32")  # noqa: FBT003
        matrix = self.constants.matrix(weight)
        if not self._rounds_states:
            return ops.matmul(states, matrix, False, True)  # noqa: FBT003
        rounded, scales = self._round(states)
        return ops.multiply(ops.matmul(rounded, matrix, False, True), scales)  # noqa: FBT003

    def _round(self, states: Node) -> tuple[Node, Node]:
        """Round states; once where several matrices take the same ones, in turn."""
        if states is not self._states:
            ops, floats = self._ops, self._floats
            largest = ops.reduce_max(ops.abs(states), ops.constant(np.array([-1])), keep_dims=True)
            scales = ops.multiply(ops.maximum(largest, floats(_TINY)), floats(1 / _LARGEST))
            # To OpenVINO this says that the numbers are whole and fit into a byte, no more.
            low, high = floats(-_LARGEST - 1), floats(_LARGEST)
            rounded = ops.fake_quantize(ops.divide(states, scales), low, high, low, high, 256)
            self._states, self._rounded = states, (rounded, scales)
        return self._rounded

    def _floats(self, value: float) -> Node:
        return self._ops.constant(np.float32(value))


def multiplies_bytes(ov: Any, core: Any, device: str) -> bool:
    """
    Say whether a device multiplies 8-bit integers without overflow, by asking it to.

    Processors without such an instruction (VNNI) add pairs of products in 16 bits.
    """
    ops, width = ov.opset13, 64
    constants = Constants(ov, "int8")
    states = ops.parameter(ov.PartialShape([-1, width]), ov.Type.f32)
    matrix = np.full((width, width), _LARGEST, np.float32)
    product = Products(ov, constants, rounds_states=True).multiply(states, Stored(matrix, "f32"))
    model = ov.Model([ops.result(product)], [states], "bytes")
    try:
        compiled = core.compile_model(model, device, {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled([np.full((2, width), _LARGEST, np.float32)])[0]
    except RuntimeError:
        return False
    return bool(np.allclose(found, width * _LARGEST**2, rtol=1e-4))
