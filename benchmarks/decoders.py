"""Decoders alone, in each precision: beside onnxruntime's 8 bits and bare matrix products."""

from __future__ import annotations

import gc
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from benchmarks.environments import environment
from benchmarks.report import Section
from milvane.inference.cores import usable_cores
from milvane.inference.encoders.recipe import Recipe
from milvane.inference.runtimes.openvino_network import OpenvinoNetwork
from milvane.inference.runtimes.port import Runtime
from milvane.inference.runtimes.reading import read_head, read_network
from milvane.inference.settings import Precision

QWEN = {
    "model_type": "qwen3", "hidden_act": "silu", "hidden_size": 1024, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 28, "intermediate_size": 3072,
    "max_position_embeddings": 4096, "vocab_size": 151_669, "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000, "rope_scaling": None,
}  # fmt: skip
RECIPE = Recipe("qwen3", "last")
DOCUMENT_TOKENS, BATCH, QUERY_TOKENS = 128, 8, 12
QUERIES = 6
"""Asked in each round."""
REST_S = 0.1
"""For threads that still spin after a pass of another runtime."""
PRECISIONS: tuple[Precision, ...] = ("bf16", "int8", "int4")
PEER = "onnxruntime int8"

Times = tuple[float, float]
"""Seconds of a pass: those that go by, and those of processors."""


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


def pass_times(runtime: Runtime, batch: int, tokens: int) -> Times:
    """Run one pass."""
    ids = np.random.default_rng(2).integers(0, 150_000, (batch, tokens)).astype(np.int32)
    begun = time.perf_counter(), time.process_time()
    runtime.forward(ids, np.full(batch, tokens, np.int32))
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def resident_gb(process: int | str = "self") -> float:
    """Read a process's memory, without pages of mapped files that can be dropped."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e6


def probe(runtime: Runtime) -> np.ndarray:
    """Embed a few texts of random ids; rows have length 1."""
    ids = np.random.default_rng(3).integers(0, 150_000, (4, 64)).astype(np.int32)
    return _of_length_one(runtime.forward(ids, np.full(4, 64, np.int32)))


def _of_length_one(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Peer:
    """The same network in onnxruntime, in a process and an environment of its own."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Load it."""
        python = environment("onnxruntime", ["onnxruntime==1.31.1", "onnx==1.23.2", "numpy"])
        begun = time.perf_counter()
        command = [str(python), str(Path(__file__).with_name("decoder_peer.py"))]
        self._process = subprocess.Popen(
            [*command, str(folder), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._read()
        self.load_s = time.perf_counter() - begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def pass_times(self, batch: int, tokens: int) -> Times:
        """Run one pass."""
        self._write(f"{batch} {tokens}")
        elapsed_s, processors_s = map(float, self._read().split())
        return elapsed_s, processors_s

    def probe(self) -> np.ndarray:
        """Embed the same random ids as `probe`, and end."""
        self._write("")
        return _of_length_one(np.array(json.loads(self._read()), np.float32))

    def memory_gb(self) -> float:
        """Say what it holds."""
        return resident_gb(self._process.pid)

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("onnxruntime does not run the network; see above")
        return line


class Row:
    """What one way to run the network reaches."""

    def __init__(self, name: str) -> None:
        """Begin without rounds."""
        self.name = name
        self.passes: list[Times] = []
        self.queries: list[Times] = []
        self.load_s = self.memory_gb = 0.0
        self.share = ""
        self.vectors = np.zeros(0)

    def cells(self, peer: Row, known: np.ndarray) -> list[str]:
        """Render it beside the peer, and beside the vectors of bf16."""
        tokens = BATCH * DOCUMENT_TOKENS / best(self.passes, 0)
        nearest = np.einsum("ij,ij->i", self.vectors, known).min()
        return [
            self.name, f"{tokens / DOCUMENT_TOKENS:.1f}", f"{tokens:,.0f}",
            f"{best(peer.passes, 0) / best(self.passes, 0):.2f}",
            f"{best(self.passes, 1) / best(peer.passes, 1):.2f}",
            f"{1000 * best(self.queries, 0):.0f}",
            f"{best(peer.queries, 0) / best(self.queries, 0):.2f}", self.share,
            f"{self.load_s:.1f}", f"{self.memory_gb:.1f}", f"{nearest:.4f}",
        ]  # fmt: skip


def best(times: list[Times], which: int) -> float:
    """Take the least of one kind."""
    return min(each[which] for each in times)


def measure_precision(folder: Path, precision: Precision, rounds: int, peer: Peer) -> list[Row]:
    """Load the network; measure it by turns with the peer and with the machine's products."""
    ours, theirs = Row(precision), Row(PEER)
    threads = usable_cores()
    before_gb, begun = resident_gb(), time.perf_counter()
    network = read_network(folder)
    runtime = OpenvinoNetwork(
        network, read_head(folder, RECIPE), threads=threads, precision=precision
    )
    ours.load_s, ours.vectors = time.perf_counter() - begun, probe(runtime)
    products = products_per_s("bf16", threads)
    limits = []
    for _ in range(rounds):
        ours.passes.append(pass_times(runtime, BATCH, DOCUMENT_TOKENS))
        theirs.passes.append(peer.pass_times(BATCH, DOCUMENT_TOKENS))
        limits.append(products())
        time.sleep(REST_S)
        ours.queries += [pass_times(runtime, 1, QUERY_TOKENS) for _ in range(QUERIES)]
        time.sleep(REST_S)
        theirs.queries += [peer.pass_times(1, QUERY_TOKENS) for _ in range(QUERIES)]
    work = 2 * network.parameters * BATCH * DOCUMENT_TOKENS
    ours.share = f"{work / best(ours.passes, 0) / max(limits):.2f}"
    ours.memory_gb = resident_gb() - before_gb
    runtime.close()
    return [ours, theirs]


def measure(*, quick: bool) -> Section:
    """Measure Qwen3-Embedding-0.6B's shape in each precision."""
    rounds = 2 if quick else 8
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_checkpoint(folder)
        peer = stack.enter_context(Peer(folder, usable_cores()))
        pairs = []
        for precision in PRECISIONS:
            pairs.append(measure_precision(folder, precision, rounds, peer))
            gc.collect()
        last = Row(PEER)
        last.load_s, last.memory_gb, last.vectors = peer.load_s, peer.memory_gb(), peer.probe()
    for _, theirs in pairs:
        last.passes += theirs.passes
        last.queries += theirs.queries
    known = pairs[0][0].vectors
    rows = [ours.cells(theirs, known) for ours, theirs in pairs]
    return Section(
        title="Qwen3-Embedding-0.6B on the CPU",
        question="What does a decoder of 0.6 billion parameters reach in each precision, beside "
        f"onnxruntime in 8 bits? Random numbers in the real shape; documents of {DOCUMENT_TOKENS} "
        f"tokens, {BATCH} at once, a query of {QUERY_TOKENS} tokens, best of {rounds} rounds, "
        "each by turns with onnxruntime and with bare matrix products of the same sizes in bf16.",
        columns=[
            "", "documents/s", "tokens/s", "of onnxruntime's", "processor time, of onnxruntime's",
            "query, ms", "of onnxruntime's", "of the products", "load, s", "memory, GB",
            "least cosine to bf16",
        ],
        rows=[*rows, last.cells(last, known)],
        notes=[
            "onnxruntime has the graph that its own dynamic quantizer and its fusions make: 8-bit "
            "matrices with a scale for each row, states with a scale for each pass, its grouped "
            "attention. Ratios are of rates, above 1 where we are faster; but for processor time, "
            "which says the same where other work takes the cores now and then.",
            "Random numbers say little about what fewer bits cost a trained network: "
            "`milvane models compare` measures it on the weights themselves.",
        ],
    )  # fmt: skip
