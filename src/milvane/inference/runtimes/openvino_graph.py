"""Any network in OpenVINO's operations, with its pooling at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvane.inference.runtimes.network import (
    Attention,
    Feedforward,
    Head,
    Layer,
    Linear,
    Network,
    Norm,
)
from milvane.inference.runtimes.openvino_constants import Constants
from milvane.inference.runtimes.openvino_library import load_openvino
from milvane.inference.runtimes.openvino_products import Products

Node = Any
"""An OpenVINO node; the library has no types of its own."""

_NOTHING = -1e9


def build_graph(
    network: Network, head: Head, *, precision: str, rounds_states: bool = False
) -> tuple[Any, list[Any]]:
    """
    Build the network.

    Args:
        network: What computes states.

        head: What becomes of them.

        precision: As in `Runtime.precision`; decides how matrices are kept.

        rounds_states: Round states to 8 bits before they are multiplied with matrices of 8 bits.

    Returns:
        A model with the inputs ``token_ids`` of shape ``(batch, tokens)``, ``lengths`` of shape
        ``(batch,)``, ``packed`` of shape ``(real tokens,)`` with places in the flat batch, and
        ``unpacked`` of shape ``(batch, tokens)`` with places among the packed tokens, all i32 and
        of any size, and one output as `Runtime.forward` gives it; and the arrays that must outlive
        it.
    """
    ov = load_openvino()  # heavy: only when a runtime is opened

    constants = Constants(ov, precision)
    products = Products(ov, constants, rounds_states=rounds_states)
    builder = _Builder(ov, network, head, products)
    return builder.model(), constants.lent


class _Builder:
    """Adds nodes for one network."""

    def __init__(self, ov: Any, network: Network, head: Head, products: Products) -> None:
        self._ov = ov
        self._ops = ov.opset13
        self._network = network
        self._head = head
        self._products = products
        self._rotations: dict[int, tuple[Node, Node]] = {}
        self._masks: dict[int | None, Node | None] = {}

    def model(self) -> Any:
        ops, ov, network = self._ops, self._ov, self._network
        token_ids, self._unpacked = (self._integers(name, 2) for name in ("token_ids", "unpacked"))
        lengths, self._packed = (self._integers(name, 1) for name in ("lengths", "packed"))
        inputs = [token_ids, lengths, self._packed, self._unpacked]
        tokens = self._longest(token_ids)
        zero, one = ops.constant(np.int32(0)), ops.constant(np.int32(1))
        self._places = ops.range(zero, tokens, one, "i32")
        self._real = ops.less(
            ops.unsqueeze(self._places, self._axes(0)), ops.unsqueeze(lengths, self._axes(1))
        )
        # Matrices meet real tokens alone; only attention, and pooling, see texts side by side.
        states = self._embed(self._pack(token_ids), ops.mod(self._packed, tokens))
        for layer in network.layers:
            states = self._layer(states, layer)
        if self._head.pooling in ("cls", "last") and network.token_head is None:
            # One state is needed: the last norm has no business with the others.
            pooled = self._pool(self._unpack(states), lengths)
            pooled = self._normalize(pooled, network.final_norm)
            output = self._project(pooled)
        else:
            states = self._unpack(self._normalize(states, network.final_norm))
            output = self._project(self._pool(states, lengths))
            if network.token_head is not None:
                weights = ops.relu(self._apply(states, network.token_head))
                output = ops.concat([output, ops.squeeze(weights, self._axes(2))], 1)
        return ov.Model([ops.result(output)], inputs, "encoder")

    def _integers(self, name: str, axes: int) -> Node:
        shape = self._ov.PartialShape([-1] * axes)
        return self._ops.parameter(shape, self._ov.Type.i32, name=name)

    def _longest(self, token_ids: Node) -> Node:
        shape = self._ops.shape_of(token_ids, "i32")
        return self._ops.squeeze(
            self._ops.gather(shape, self._axes(1), self._axes(0)), self._axes(0)
        )

    def _pack(self, padded: Node, *width: int) -> Node:
        """From ``(batch, tokens, ...)`` to ``(real tokens, ...)``."""
        flat = self._ops.reshape(padded, self._axes(-1, *width), special_zero=False)
        return self._ops.gather(flat, self._packed, self._axes(0))

    def _unpack(self, states: Node) -> Node:
        """From ``(real tokens, width)`` to ``(batch, tokens, width)``; padding holds anything."""
        return self._ops.gather(states, self._unpacked, self._axes(0))

    def _embed(self, token_ids: Node, places: Node) -> Node:
        ops, network = self._ops, self._network
        states = self._products.constants.look_up(network.words, token_ids)
        if network.positions is not None:
            table = self._floats(network.positions)
            states = ops.add(states, ops.gather(table, places, self._axes(0)))
        if network.constant is not None:
            states = ops.add(states, self._floats(network.constant))
        return self._normalize(states, network.embedding_norm)

    def _layer(self, states: Node, layer: Layer) -> Node:
        ops = self._ops
        if self._network.norms_first:
            normal = self._normalize(states, layer.attention_norm)
            states = ops.add(states, self._attend(normal, layer.attention))
            normal = self._normalize(states, layer.feedforward_norm)
            return ops.add(states, self._feed(normal, layer.feedforward))
        summed = ops.add(states, self._attend(states, layer.attention))
        states = self._normalize(summed, layer.attention_norm)
        summed = ops.add(states, self._feed(states, layer.feedforward))
        return self._normalize(summed, layer.feedforward_norm)

    def _attend(self, states: Node, attention: Attention) -> Node:
        ops, network = self._ops, self._network
        query = self._by_head(states, attention.query, network.heads, attention.query_norm)
        key = self._by_head(states, attention.key, network.key_heads, attention.key_norm)
        value = self._by_head(states, attention.value, network.key_heads, None)
        if attention.frequencies is not None:
            rotation = self._rotation(attention.frequencies)
            query, key = self._rotate(query, rotation), self._rotate(key, rotation)
        attended = self._look(query, key, value, attention.reach)
        joined = self._pack(
            ops.transpose(attended, self._axes(0, 2, 1, 3)), network.heads * network.head_width
        )
        return self._apply(joined, attention.output)

    def _look(self, query: Node, key: Node, value: Node, reach: int | None) -> Node:
        """Let query heads look at their key heads; all ``(batch, heads, tokens, head_width)``."""
        ops, network = self._ops, self._network
        shared = network.heads // network.key_heads
        if shared == 1:
            # A causal network never looks at padding, which stands on the right.
            mask = [] if network.causal else [self._mask(reach)]
            return ops.scaled_dot_product_attention(query, key, value, *mask, causal=network.causal)
        # Queries that share a key stand below each other: no key is copied for them.
        below = self._axes(0, network.key_heads, -1, network.head_width)
        stacked = ops.reshape(query, below, special_zero=True)
        mask = self._mask(reach)
        attended = ops.scaled_dot_product_attention(stacked, key, value, mask, causal=False)
        return ops.reshape(attended, ops.shape_of(query), special_zero=False)

    def _mask(self, reach: int | None) -> Node:
        """Block what a token does not see, the same for each head that shares a key."""
        if reach not in self._masks:
            ops, network = self._ops, self._network
            mask = ops.select(self._visible(reach), self._floats(0.0), self._floats(_NOTHING))
            if network.causal or reach is not None:  # it has a row for each token
                mask = ops.concat([mask] * (network.heads // network.key_heads), 2)
            self._masks[reach] = mask
        return self._masks[reach]

    def _visible(self, reach: int | None) -> Node:
        """Leave out what comes later; or padding and, where attention is local, what is far."""
        ops = self._ops
        across = ops.unsqueeze(self._places, self._axes(0))
        down = ops.unsqueeze(self._places, self._axes(1))
        if self._network.causal:
            return ops.unsqueeze(ops.less_equal(across, down), self._axes(0, 1))
        seen = ops.unsqueeze(self._real, self._axes(1, 2))
        if reach is None:
            return seen
        distance = ops.abs(ops.subtract(across, down))
        near = ops.less_equal(distance, ops.constant(np.int32(reach)))
        return ops.logical_and(seen, ops.unsqueeze(near, self._axes(0, 1)))

    def _by_head(self, states: Node, linear: Linear, heads: int, norm: Norm | None) -> Node:
        ops = self._ops
        split = ops.reshape(
            self._unpack(self._apply(states, linear)),
            self._axes(0, 0, heads, self._network.head_width),
            special_zero=True,
        )
        return ops.transpose(self._normalize(split, norm), self._axes(0, 2, 1, 3))

    def _rotation(self, frequencies: NDArray[np.float32]) -> tuple[Node, Node]:
        """Look positions up in tables: in bf16, angles of far positions would have no digits."""
        if id(frequencies) not in self._rotations:
            ops = self._ops
            angles = np.outer(np.arange(self._network.max_tokens, dtype=np.float32), frequencies)
            tables = (np.concatenate([each(angles)] * 2, axis=1) for each in (np.cos, np.sin))
            # Of four axes, and the halves below with their sizes: so OpenVINO knows a rotation.
            cosines, sines = (
                ops.unsqueeze(
                    ops.gather(self._floats(table), self._places, self._axes(0)), self._axes(0, 1)
                )
                for table in tables
            )
            self._rotations[id(frequencies)] = (cosines, sines)
        return self._rotations[id(frequencies)]

    def _rotate(self, states: Node, rotation: tuple[Node, Node]) -> Node:
        ops = self._ops
        cosines, sines = rotation
        half = self._network.head_width // 2
        halves = ops.variadic_split(states, ops.constant(np.int64(3)), self._axes(half, half))
        turned = ops.concat(
            [ops.multiply(halves.output(1), self._floats(-1.0)), halves.output(0)], -1
        )
        return ops.add(ops.multiply(states, cosines), ops.multiply(turned, sines))

    def _feed(self, states: Node, inner: Feedforward) -> Node:
        up = self._apply(states, inner.up)
        if inner.gate is None:
            return self._apply(self._activate(up), inner.down)
        gate = self._activate(self._apply(states, inner.gate))
        return self._apply(self._ops.multiply(gate, up), inner.down)

    def _activate(self, states: Node) -> Node:
        if self._network.activation == "silu":
            return self._ops.swish(states)
        return self._ops.gelu(states, "erf")

    def _pool(self, states: Node, lengths: Node) -> Node:
        ops = self._ops
        pooling = self._head.pooling
        if pooling == "cls":
            return ops.squeeze(ops.gather(states, self._axes(0), self._axes(1)), self._axes(1))
        if pooling == "last":
            last = ops.subtract(lengths, ops.constant(np.int32(1)))
            picked = ops.gather(states, ops.unsqueeze(last, self._axes(1)), self._axes(1), 1)
            return ops.squeeze(picked, self._axes(1))
        real = ops.unsqueeze(self._real, self._axes(2))
        if pooling == "max":
            blocked = ops.select(real, states, self._floats(_NOTHING))
            return ops.reduce_max(blocked, self._axes(1))
        # The mean as a product of one row of weights and the states.
        counts = ops.convert(ops.unsqueeze(lengths, self._axes(1, 2)), "f32")
        weights = ops.divide(ops.convert(real, "f32"), counts)
        return ops.reduce_sum(ops.multiply(states, weights), self._axes(1))

    def _project(self, pooled: Node) -> Node:
        for projection in self._head.projections:
            pooled = self._apply(pooled, projection.linear)
            if projection.activation == "tanh":
                pooled = self._ops.tanh(pooled)
        return pooled

    def _apply(self, states: Node, linear: Linear) -> Node:
        ops = self._ops
        product = self._products.multiply(states, linear.weight)
        return product if linear.bias is None else ops.add(product, self._floats(linear.bias))

    def _normalize(self, states: Node, norm: Norm | None) -> Node:
        ops = self._ops
        if norm is None:
            return states
        if norm.centres:
            plain = ops.mvn(states, self._axes(-1), True, norm.epsilon, "inside_sqrt")  # noqa: FBT003
        else:
            squares = ops.power(states, self._floats(2.0))
            mean = ops.reduce_mean(squares, self._axes(-1), keep_dims=True)
            root = ops.sqrt(ops.add(mean, self._floats(norm.epsilon)))
            plain = ops.multiply(states, ops.divide(self._floats(1.0), root))
        scaled = ops.multiply(plain, self._floats(norm.scale))
        return scaled if norm.shift is None else ops.add(scaled, self._floats(norm.shift))

    def _floats(self, values: Any) -> Node:
        return self._ops.constant(np.asarray(values, np.float32))

    def _axes(self, *values: int) -> Node:
        return self._ops.constant(np.asarray(values, np.int64))
