"""Networks alone: what they reach of this machine's matrix products, and what 8 bits change."""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Section
from milvane.inference.cores import usable_cores
from milvane.inference.encoders.recipe import Recipe
from milvane.inference.runtimes.openvino_network import OpenvinoNetwork
from milvane.inference.runtimes.port import Runtime
from milvane.inference.runtimes.reading import read_head, read_network

QWEN = {
    "model_type": "qwen3", "hidden_act": "silu", "hidden_size": 1024, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 28, "intermediate_size": 3072,
    "max_position_embeddings": 4096, "vocab_size": 151_669, "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000, "rope_scaling": None,
}  # fmt: skip
RECIPE = Recipe("qwen3", "last")
DOCUMENT_TOKENS, BATCH, QUERY_TOKENS = 128, 8, 12


def shapes() -> dict[str, tuple[int, ...]]:
    """Name every tensor of Qwen3-Embedding-0.6B with its shape."""
    width, inner, head = QWEN["hidden_size"], QWEN["intermediate_size"], QWEN["head_dim"]
    queries, keys = QWEN["num_attention_heads"] * head, QWEN["num_key_value_heads"] * head
    found: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (QWEN["vocab_size"], width), "norm.weight": (width,),
    }  # fmt: skip
    for index in range(QWEN["num_hidden_layers"]):
        layer = f"layers.{index}"
        found |= {
            f"{layer}.input_layernorm.weight": (width,),
            f"{layer}.post_attention_layernorm.weight": (width,),
            f"{layer}.self_attn.q_proj.weight": (queries, width),
            f"{layer}.self_attn.k_proj.weight": (keys, width),
            f"{layer}.self_attn.v_proj.weight": (keys, width),
            f"{layer}.self_attn.o_proj.weight": (width, queries),
            f"{layer}.self_attn.q_norm.weight": (head,),
            f"{layer}.self_attn.k_norm.weight": (head,),
            f"{layer}.mlp.gate_proj.weight": (inner, width),
            f"{layer}.mlp.up_proj.weight": (inner, width),
            f"{layer}.mlp.down_proj.weight": (width, inner),
        }
    return found


def write_checkpoint(folder: Path) -> None:
    """Write a network of that shape with random numbers, in bf16."""
    (folder / "config.json").write_text(json.dumps(QWEN))
    header: dict[str, Any] = {}
    start = 0
    for name, shape in shapes().items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, start + size]}
        start += size
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    random = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(written).to_bytes(8, "little") + written)
        for shape in shapes().values():
            for rows in np.array_split(np.arange(shape[0]), max(1, shape[0] // 4096)):
                part = (len(rows), *shape[1:])
                values = random.standard_normal(part, np.float32) * np.float32(0.02)
                if len(shape) == 1:
                    values = np.ones(part, np.float32)
                stream.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def products_per_s(precision: str, threads: int) -> Callable[[], float]:
    """Prepare the machine's own rate: matrices of the network's sizes, one after the other."""
    import openvino as ov

    ops, random = ov.opset13, np.random.default_rng(1)
    inputs = ops.parameter(ov.PartialShape([-1, 1024]), ov.Type.f32)
    states, work = inputs, 0
    for rows, columns in ((3072, 1024), (1024, 3072)) * 3:
        matrix = random.standard_normal((rows, columns), np.float32) * np.float32(0.02)
        states = ops.matmul(states, ops.constant(matrix), False, True)  # noqa: FBT003
        work += 2 * rows * columns
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    model = ov.Model([ops.result(states)], [inputs], "products")
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    rows = random.standard_normal((BATCH * DOCUMENT_TOKENS, 1024), np.float32)

    def run() -> float:
        begun = time.perf_counter()
        request.infer([rows])
        return work * len(rows) / (time.perf_counter() - begun)

    return run


def tokens_per_s(runtime: Runtime, batch: int, tokens: int) -> float:
    """Run one pass."""
    ids = np.random.default_rng(2).integers(0, 150_000, (batch, tokens)).astype(np.int32)
    begun = time.perf_counter()
    runtime.forward(ids, np.full(batch, tokens, np.int32))
    return batch * tokens / (time.perf_counter() - begun)


def resident_gb() -> float:
    """Read this process's memory, without pages of mapped files that can be dropped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e6


def probe(runtime: Runtime) -> np.ndarray:
    """Embed a few texts of random ids; rows have length 1."""
    ids = np.random.default_rng(3).integers(0, 150_000, (4, 64)).astype(np.int32)
    vectors = runtime.forward(ids, np.full(4, 64, np.int32))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure_precision(
    folder: Path, precision: str, rounds: int
) -> Iterator[tuple[str, float | np.ndarray]]:
    """Load the network, and measure it by turns with the machine's products."""
    threads = usable_cores()
    before_gb, begun = resident_gb(), time.perf_counter()
    network = read_network(folder)
    runtime = OpenvinoNetwork(
        network, read_head(folder, RECIPE), threads=threads, precision=precision
    )
    yield "load, s", time.perf_counter() - begun
    yield "probe", probe(runtime)
    work = 2 * network.parameters
    products = products_per_s("bf16" if precision == "int8" else precision, threads)
    rates, limits, queries_s = [], [], []
    for _ in range(rounds):
        rates.append(tokens_per_s(runtime, BATCH, DOCUMENT_TOKENS))
        limits.append(products())
        queries_s.append(QUERY_TOKENS / tokens_per_s(runtime, 1, QUERY_TOKENS))
    yield "tokens/s", max(rates)
    yield "share of the products", max(rates) * work / max(limits)
    yield "query, ms", 1000 * min(queries_s)
    yield "memory, GB", resident_gb() - before_gb
    runtime.close()


def measure(*, quick: bool) -> Section:
    """Measure Qwen3-Embedding-0.6B's shape in each precision."""
    rounds = 2 if quick else 8
    columns = ["tokens/s", "share of the products", "query, ms", "load, s", "memory, GB"]
    rows, vectors = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_checkpoint(folder)
        for precision in ("bf16", "int8"):
            found = dict(measure_precision(folder, precision, rounds))
            vectors[precision] = found.pop("probe")
            gc.collect()
            nearest = np.einsum("ij,ij->i", vectors[precision], vectors["bf16"]).min()
            rows.append(
                [precision, *(f"{found[column]:,.3g}" for column in columns), f"{nearest:.4f}"]
            )
    return Section(
        title="Qwen3-Embedding-0.6B on the CPU",
        question="What does a decoder of 0.6 billion parameters reach, and what do 8 bits change? "
        f"Random numbers in the real shape; documents of {DOCUMENT_TOKENS} tokens, {BATCH} at "
        f"once, a query of {QUERY_TOKENS} tokens, best of {rounds} rounds; the share is that of "
        "bare matrix products of the same sizes, measured by turns.",
        columns=["precision", *columns, "least cosine to bf16"],
        rows=rows,
        notes=["Random numbers say little about what 8 bits cost a trained network."],
    )
