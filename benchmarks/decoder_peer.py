"""
A decoder in onnxruntime's 8 bits, in an environment of its own: what decoders are compared with.

Started with a checkpoint's folder and a number of threads. It reads lines ``batch tokens`` and
answers each with the seconds of one pass and those of processors; an empty line ends it, with the
vectors of a probe.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"


class Checkpoint:
    """Reads tensors in bf16 from one safetensors file."""

    def __init__(self, folder: Path) -> None:
        """Map the file."""
        path = folder / "model.safetensors"
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            self._header = json.loads(stream.read(length))
        self._bytes = np.memmap(path, np.uint8, "r", offset=8 + length)

    def read(self, name: str) -> np.ndarray:
        """Widen a tensor to f32."""
        start, stop = self._header[name]["data_offsets"]
        upper = self._bytes[start:stop].view(np.uint16).astype(np.uint32)
        return (upper << 16).view(np.float32).reshape(self._header[name]["shape"])


class Graph:
    """Collects nodes and constants, as onnxruntime's own quantizer and fusions would leave them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Begin with nothing."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._checkpoint = checkpoint
        self._count = 0

    def add(
        self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **said: object
    ) -> str:
        """Add a node; returns its first output, others end in a number."""
        self._count += 1
        name = f"n{self._count}"
        names = [name, *(f"{name}.{number}" for number in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, domain=domain, **said))
        return name

    def keep(self, values: np.ndarray) -> str:
        """Add a constant."""
        self._count += 1
        name = f"c{self._count}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def norm(self, states: str, name: str, epsilon: float) -> str:
        """Divide by the root of the mean square."""
        scale = self.keep(self._checkpoint.read(name))
        said = {"axis": -1, "epsilon": epsilon, "stash_type": 1}
        return self.add("SimplifiedLayerNormalization", states, scale, **said)

    def quantize(self, states: str) -> tuple[str, str, str]:
        """Round states to 8 bits, all of a pass by one scale, as this quantizer does."""
        rounded = self.add("DynamicQuantizeLinear", states, outputs=3)
        return rounded, f"{rounded}.1", f"{rounded}.2"

    def product(self, states: tuple[str, str, str], name: str) -> str:
        """Multiply with a matrix of 8 bits, one scale for each of its rows."""
        matrix = self._checkpoint.read(name)
        scales = np.maximum(np.abs(matrix).max(axis=1) / 127, 1e-12)
        kept = self.keep(np.rint(matrix / scales[:, None]).astype(np.int8).T)
        rounded, scale, zero = states
        return self.add(
            "MatMulIntegerToFloat", rounded, kept, scale, self.keep(scales.astype(np.float32)),
            zero, domain=MICROSOFT,
        )  # fmt: skip


def build(folder: Path) -> bytes:
    """Build Qwen3's graph, pooling the last token of rows that are all of one length."""
    shape = json.loads((folder / "config.json").read_text())
    checkpoint = Checkpoint(folder)
    graph, head = Graph(checkpoint), shape["head_dim"]
    epsilon = shape["rms_norm_eps"]
    frequencies = shape["rope_theta"] ** (-np.arange(0, head, 2) / head)
    angles = np.outer(np.arange(shape["max_position_embeddings"]), frequencies)
    cosines, sines = (graph.keep(f(angles).astype(np.float32)) for f in (np.cos, np.sin))
    words = checkpoint.read("embed_tokens.weight")
    largest = np.float32(np.abs(words).max() / 127)
    table = graph.keep(np.rint(words / largest).astype(np.int8))
    del words
    picked = graph.add("Cast", graph.add("Gather", table, "token_ids"), to=TensorProto.FLOAT)
    states = graph.add("Mul", picked, graph.keep(largest))

    def by_head(product: str, count: int, name: str) -> str:
        split = graph.add("Reshape", product, graph.keep(np.array([0, 0, count, head])))
        normal = graph.norm(split, name, epsilon)
        return graph.add("Reshape", normal, graph.keep(np.array([0, 0, count * head])))

    heads, key_heads = shape["num_attention_heads"], shape["num_key_value_heads"]
    for index in range(shape["num_hidden_layers"]):
        layer = f"layers.{index}"
        entered = graph.quantize(graph.norm(states, f"{layer}.input_layernorm.weight", epsilon))
        query, key, value = (
            graph.product(entered, f"{layer}.self_attn.{part}_proj.weight") for part in "qkv"
        )
        query = by_head(query, heads, f"{layer}.self_attn.q_norm.weight")
        key = by_head(key, key_heads, f"{layer}.self_attn.k_norm.weight")
        attended = graph.add(
            "GroupQueryAttention", query, key, value, "", "", "last", "tokens", cosines, sines,
            outputs=3, domain=MICROSOFT, num_heads=heads, kv_num_heads=key_heads, do_rotary=1,
        )  # fmt: skip
        joined = graph.quantize(attended)
        states = graph.add("Add", states, graph.product(joined, f"{layer}.self_attn.o_proj.weight"))
        normal = graph.norm(states, f"{layer}.post_attention_layernorm.weight", epsilon)
        entered = graph.quantize(normal)
        gate, up = (
            graph.product(entered, f"{layer}.mlp.{each}_proj.weight") for each in ("gate", "up")
        )
        gate = graph.add("QuickGelu", gate, domain=MICROSOFT, alpha=1.0)  # x * sigmoid(x)
        inner = graph.quantize(graph.add("Mul", gate, up))
        states = graph.add("Add", states, graph.product(inner, f"{layer}.mlp.down_proj.weight"))
    last = graph.add("Gather", states, graph.keep(np.array(-1)), axis=1)
    pooled = graph.norm(last, "norm.weight", epsilon)
    inputs = [
        helper.make_tensor_value_info("token_ids", TensorProto.INT64, ["batch", "length"]),
        helper.make_tensor_value_info("last", TensorProto.INT32, ["batch"]),
        helper.make_tensor_value_info("tokens", TensorProto.INT32, []),
    ]
    output = helper.make_tensor_value_info(
        pooled, TensorProto.FLOAT, ["batch", shape["hidden_size"]]
    )
    made = helper.make_graph(graph.nodes, "decoder", inputs, [output], graph.constants)
    domains = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(made, opset_imports=domains, ir_version=9).SerializeToString()


def main() -> None:
    """Answer lines until an empty one."""
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(build(folder), options, providers=["CPUExecutionProvider"])

    def run(ids: np.ndarray) -> np.ndarray:
        batch, tokens = ids.shape
        last = np.full(batch, tokens - 1, np.int32)
        fed = {"token_ids": ids, "last": last, "tokens": np.array(tokens, np.int32)}
        return session.run(None, fed)[0]

    print("ready", flush=True)
    for line in sys.stdin:
        if not line.strip():
            break
        batch, tokens = map(int, line.split())
        ids = np.random.default_rng(2).integers(0, 150_000, (batch, tokens))
        begun = time.perf_counter(), time.process_time()
        run(ids)
        print(time.perf_counter() - begun[0], time.process_time() - begun[1], flush=True)
    probe = run(np.random.default_rng(3).integers(0, 150_000, (4, 64)))
    print(json.dumps(probe.tolist()), flush=True)


if __name__ == "__main__":
    main()
