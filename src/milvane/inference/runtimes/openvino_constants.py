"""How matrices are kept in OpenVINO's graph: as they are, or in fewer bits than they have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvane.inference.runtimes.stored import Stored

Node = Any
"""An OpenVINO node; the library has no types of its own."""

GROUP = 64
"""
Numbers of a row that share a scale, where they have 4 bits.

128 cost all-MiniLM-L6-v2 a third more of the cosine, and made passes 5 % faster.
"""
_STEPS = 15
_TINY = 1e-12
WHOLE = ("int8", "int4")
"""Precisions that keep matrices as integers."""


class Constants:
    """Makes constants of a checkpoint's matrices."""

    def __init__(self, ov: Any, precision: str) -> None:
        """
        Choose how they are kept.

        Args:
            ov: The library.

            precision: As in `Runtime.precision`.
        """
        self._ov = ov
        self._ops = ov.opset13
        self.precision = precision
        self.lent: list[Any] = []
        """Arrays that the graph uses where they lie; they must outlive it."""

    def look_up(self, words: Stored, token_ids: Node) -> Node:
        """Look vectors up; those of bf16 are widened after that, for they are many."""
        ops, axis = self._ops, self._ops.constant(np.int64(0))
        if words.kind != "bf16":
            return ops.gather(ops.constant(words.f32()), token_ids, axis)
        return ops.convert(ops.gather(self.lend(words), token_ids, axis), "f32")

    def matrix(self, weight: Stored) -> Node:
        """Keep a matrix that is multiplied, shape ``(out, in)``."""
        if self.precision == "int4" and weight.shape[1] % GROUP == 0:
            return self._four_bits(weight)
        if self.precision in WHOLE:
            return self._eight_bits(weight)
        return self._ops.constant(weight.f32())

    def _four_bits(self, weight: Stored) -> Node:
        """Keep a matrix as 4-bit integers; each group of a row has its scale and its zero."""
        rows, columns = weight.shape
        groups = weight.f32().reshape(rows, columns // GROUP, GROUP)
        low = np.minimum(groups.min(axis=2, keepdims=True), 0)
        steps = np.maximum((groups.max(axis=2, keepdims=True) - low) / _STEPS, _TINY)
        zeros = np.rint(-low / steps)
        rounded = np.clip(np.rint(groups / steps) + zeros, 0, _STEPS)
        ops = self._ops
        whole = ops.subtract(self._packed(rounded), self._packed(zeros))
        kept = ops.multiply(whole, ops.constant(steps.astype(np.float32)))
        return ops.reshape(kept, ops.constant(np.array([rows, columns])), special_zero=False)

    def _packed(self, numbers: NDArray[np.float32]) -> Node:
        """Keep numbers of ``0..15``, two in a byte, the first one in its lower half."""
        ov, flat = self._ov, numbers.astype(np.uint8).reshape(-1)
        tensor = ov.Tensor(ov.Type.u4, ov.Shape(numbers.shape))
        flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
        tensor.data[:] = flat[0::2] | flat[1::2] << 4
        return self._ops.convert(ov.op.Constant(tensor), "f32")

    def _eight_bits(self, weight: Stored) -> Node:
        """Keep a matrix as 8-bit integers and a scale per row: products are still of floats."""
        values = weight.f32()
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, _TINY)
        rounded = np.rint(values / scales).astype(np.int8)
        ops = self._ops
        whole = ops.convert(ops.constant(rounded), "f32")
        return ops.multiply(whole, ops.constant(scales.astype(np.float32)))

    def lend(self, values: Stored) -> Node:
        """Use 16-bit numbers where they lie, in a mapped file."""
        ov = self._ov
        lent = np.ascontiguousarray(values.values)
        self.lent.append(lent)
        return ov.op.Constant(ov.Tensor(lent, values.shape, ov.Type.bf16))
