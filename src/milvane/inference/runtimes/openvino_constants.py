"""How matrices are kept in OpenVINO's graph: as they are, or in fewer bits than they have."""

from __future__ import annotations

from typing import Any

import numpy as np

from milvane.inference.runtimes.stored import Stored

Node = Any
"""An OpenVINO node; the library has no types of its own."""


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
        return ops.convert(ops.gather(self._lend(words), token_ids, axis), "f32")

    def matrix(self, weight: Stored) -> Node:
        """Keep a matrix that is multiplied, shape ``(out, in)``."""
        return self._eight_bits(weight) if self.precision == "int8" else self._plain(weight)

    def _eight_bits(self, weight: Stored) -> Node:
        """Keep a matrix as 8-bit integers and a scale per row: products are still of floats."""
        values = weight.f32()
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, 1e-12)
        rounded = np.rint(values / scales).astype(np.int8)
        ops = self._ops
        whole = ops.convert(ops.constant(rounded), "f32")
        return ops.multiply(whole, ops.constant(scales.astype(np.float32)))

    def _plain(self, values: Stored) -> Node:
        if values.kind != "bf16" or self.precision == "f32":
            return self._ops.constant(values.f32())
        return self._ops.convert(self._lend(values), "f32")

    def _lend(self, values: Stored) -> Node:
        """Use 16-bit numbers where they lie, in a mapped file."""
        ov = self._ov
        lent = np.ascontiguousarray(values.values)
        self.lent.append(lent)
        return ov.op.Constant(ov.Tensor(lent, values.shape, ov.Type.bf16))
