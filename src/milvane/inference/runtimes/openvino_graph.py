"""The BERT network in OpenVINO's operations, with mean pooling at its end."""

from __future__ import annotations

from typing import Any

import numpy as np

from milvane.inference.runtimes.bert_checkpoint import BertCheckpoint, BertLayer, Linear, Norm

Node = Any
"""An OpenVINO node; the library has no types of its own."""


def build_graph(checkpoint: BertCheckpoint) -> Any:
    """
    Build the network.

    Returns:
        A model with the inputs ``token_ids`` of shape ``(batch, tokens)`` and ``lengths`` of
        shape ``(batch,)``, both i32 and of any size, and one output of shape ``(batch, hidden)``.
    """
    import openvino as ov  # heavy: only when a runtime is opened

    return _Builder(ov, checkpoint).model()


class _Builder:
    """Adds nodes for one checkpoint."""

    def __init__(self, ov: Any, checkpoint: BertCheckpoint) -> None:
        self._ov = ov
        self._ops = ov.opset13
        self._checkpoint = checkpoint
        self._shape = checkpoint.shape

    def model(self) -> Any:
        ops, ov = self._ops, self._ov
        token_ids = ops.parameter(ov.PartialShape([-1, -1]), ov.Type.i32, name="token_ids")
        lengths = ops.parameter(ov.PartialShape([-1]), ov.Type.i32, name="lengths")
        positions = self._positions(token_ids)
        real = ops.less(
            ops.unsqueeze(positions, self._axes(0)), ops.unsqueeze(lengths, self._axes(1))
        )
        blocked = ops.select(real, self._floats(0.0), self._floats(-1e9))
        mask = ops.unsqueeze(blocked, self._axes(1, 2))
        states = self._embed(token_ids, positions)
        for layer in self._checkpoint.layers:
            states = self._layer(states, mask, layer)
        pooled = self._pool(states, real, lengths)
        return ov.Model([ops.result(pooled)], [token_ids, lengths], "bert")

    def _positions(self, token_ids: Node) -> Node:
        ops = self._ops
        shape = ops.shape_of(token_ids, "i32")
        tokens = ops.squeeze(ops.gather(shape, self._axes(1), self._axes(0)), self._axes(0))
        zero, one = ops.constant(np.int32(0)), ops.constant(np.int32(1))
        return ops.range(zero, tokens, one, "i32")

    def _embed(self, token_ids: Node, positions: Node) -> Node:
        ops, checkpoint = self._ops, self._checkpoint
        words = ops.gather(self._floats(checkpoint.words), token_ids, self._axes(0))
        places = ops.gather(self._floats(checkpoint.positions), positions, self._axes(0))
        return self._normalize(ops.add(words, places), checkpoint.embedding_norm)

    def _layer(self, states: Node, mask: Node, layer: BertLayer) -> Node:
        ops = self._ops
        attended = ops.scaled_dot_product_attention(
            self._by_head(states, layer.query),
            self._by_head(states, layer.key),
            self._by_head(states, layer.value),
            mask,
            causal=False,
        )
        joined = ops.reshape(
            ops.transpose(attended, self._axes(0, 2, 1, 3)),
            self._axes(0, 0, self._shape.hidden_size),
            special_zero=True,
        )
        states = ops.add(states, self._apply(joined, layer.attention_output))
        states = self._normalize(states, layer.attention_norm)
        inner = ops.gelu(self._apply(states, layer.intermediate), "erf")
        states = ops.add(states, self._apply(inner, layer.output))
        return self._normalize(states, layer.output_norm)

    def _by_head(self, states: Node, linear: Linear) -> Node:
        ops, shape = self._ops, self._shape
        split = ops.reshape(
            self._apply(states, linear),
            self._axes(0, 0, shape.num_attention_heads, shape.head_width),
            special_zero=True,
        )
        return ops.transpose(split, self._axes(0, 2, 1, 3))

    def _pool(self, states: Node, real: Node, lengths: Node) -> Node:
        """Take the mean of the real tokens as a product of one row of weights and the states."""
        ops = self._ops
        counts = ops.convert(ops.unsqueeze(lengths, self._axes(1)), "f32")
        weights = ops.unsqueeze(ops.divide(ops.convert(real, "f32"), counts), self._axes(2))
        return ops.reduce_sum(ops.multiply(states, weights), self._axes(1))

    def _apply(self, states: Node, linear: Linear) -> Node:
        ops = self._ops
        product = ops.matmul(states, self._floats(linear.weight), False, True)  # noqa: FBT003
        return ops.add(product, self._floats(linear.bias))

    def _normalize(self, states: Node, norm: Norm) -> Node:
        ops = self._ops
        epsilon = self._shape.layer_norm_eps
        plain = ops.mvn(states, self._axes(-1), True, epsilon, "inside_sqrt")  # noqa: FBT003
        scaled = ops.multiply(plain, self._floats(norm.scale))
        return ops.add(scaled, self._floats(norm.shift))

    def _floats(self, values: Any) -> Node:
        return self._ops.constant(np.asarray(values, np.float32))

    def _axes(self, *values: int) -> Node:
        return self._ops.constant(np.asarray(values, np.int64))
