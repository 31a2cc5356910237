"""Our server beside those of others: same weights, same texts, same clients, in turn."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.environments import environment
from benchmarks.http_load import CLIENTS, MILVANE, MIXES, Connection, Target, drive_server
from benchmarks.report import Plot, Section
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.inference.weights import find
from milvane.settings import load_settings, weights_dir
from milvane.testing.servers import MilvaneProcess

OURS = "Milvane"
HERE = Path(__file__).parent
START_S = 240
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # By itself it leaves a core to others, which would be half of a small machine.
    "VLLM_CPU_OMP_THREADS_BIND": f"0-{(os.cpu_count() or 1) - 1}",
}
INFINITY = ["torch==2.13.0", "infinity-emb[server,torch,optimum]==0.0.78"]
TEXT = "What is a vector database good for?"
PROBES = [TEXT, "How do I store embeddings?", "The river froze early that winter.", "Hello"]


@dataclass(slots=True)
class Peer:
    """A server that speaks OpenAI's dialect, once it runs."""

    url: str
    pid: int
    path: str = "/v1/embeddings"
    model: str = "minilm"
    more: Mapping[str, object] = field(default_factory=dict)
    started_s: float = 0.0

    @property
    def target(self) -> Target:
        """Where clients ask."""
        return Target(self.url, self.path, self.model, self.more)

    def family(self) -> list[psutil.Process]:
        """List its process and all below it."""
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]

    def memory_mb(self) -> float:
        """Say what it and its children hold, in megabytes."""
        return sum(each.memory_info().rss for each in self.family()) / 1e6


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def make_folder(folder: Path) -> Path:
    """Lay our default weights out as sentence-transformers, vLLM and converters expect them."""
    source = find(ALL_MINILM_L6_V2, weights_dir(load_settings().settings))
    for path in source.iterdir():
        if path.suffix in {".json", ".safetensors"}:
            shutil.copy(path, folder)
    written = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {
                "idx": 1,
                "name": "1",
                "path": "1_Pooling",
                "type": "sentence_transformers.models.Pooling",
            },
            {
                "idx": 2,
                "name": "2",
                "path": "2_Normalize",
                "type": "sentence_transformers.models.Normalize",
            },
        ],
        # Ours looks at all of a text, in windows: so do these, as far as their positions go.
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": 384,
            "pooling_mode_mean_tokens": True,
        },
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast", "model_max_length": 512},
        "special_tokens_map.json": {
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "mask_token": "[MASK]",
        },
    }
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content))
    vocabulary = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    return folder


@contextmanager
def running(command: list[str], port: int, log: Path, **of: object) -> Iterator[Peer]:
    """Run a server until it embeds; its output goes to a file."""
    begun = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **OFFLINE}, start_new_session=True
        )
    peer = Peer(f"http://127.0.0.1:{port}", process.pid, **of)  # type: ignore[arg-type]
    try:
        while not asyncio.run(_answers(peer)):
            if process.poll() is not None or time.monotonic() - begun > START_S:
                lines = log.read_text(errors="replace").strip().splitlines()
                raise RuntimeError(lines[-1] if lines else "it says nothing")
            time.sleep(0.1)
        peer.started_s = time.monotonic() - begun
        yield peer
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        if child.is_running():
            child.kill()


async def _answers(peer: Peer) -> bool:
    connection = Connection(peer.target)
    try:
        await asyncio.wait_for(connection.embed([TEXT]), 30)
    except (OSError, AssertionError, EOFError, asyncio.TimeoutError, asyncio.LimitOverrunError):
        return False
    finally:
        await connection.close()
    return True


async def similarities_of(peer: Peer) -> NDArray[np.float32]:
    """Ask how similar some texts are to each other: our vectors are rotated, theirs are not."""
    connection = Connection(peer.target)
    answer = json.loads(await connection.embed(PROBES))
    await connection.close()
    rows = [each["embedding"] for each in sorted(answer["data"], key=lambda each: each["index"])]
    if isinstance(rows[0], str):
        rows = [np.frombuffer(base64.b64decode(row), np.float32) for row in rows]
    vectors = np.array(rows, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def ours(stack: ExitStack, folder: Path) -> Peer:
    off = {"MILVANE_CACHE__ENABLED": "false"}
    begun = time.monotonic()
    server = stack.enter_context(MilvaneProcess(folder / "data", environment=off))
    peer = Peer(server.http_url, server.process.pid, model="text-embedding-v4", more=MILVANE)
    peer.started_s = time.monotonic() - begun
    return peer


def to_onnx(python: Path, folder: Path) -> None:
    """Have the weights written as ONNX, its layers fused, where Infinity looks for such files."""
    tool, exported = str(python.parent / "optimum-cli"), str(folder / "onnx")
    export = [tool, "export", "onnx", "--model", str(folder), "--task", "feature-extraction"]
    # Else it is exported with its pooling, and without the output that Infinity reads.
    export += ["--library-name", "transformers", exported]
    # Infinity would fuse them itself, but calls an older optimum. Of a folder it takes any
    # *_optimized.onnx as its own work, and finds no other file: it asks for it by its whole path.
    fuse = [tool, "onnxruntime", "optimize", "--onnx_model", exported, "-O2"]
    fuse += ["--output", str(folder / "fused")]
    for command in (export, fuse):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **OFFLINE}
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or "it says nothing").splitlines()[-1])


def infinity(engine: str, *options: str) -> Callable[[ExitStack, Path], Peer]:
    def start(stack: ExitStack, folder: Path) -> Peer:
        python, port = environment("infinity", INFINITY), free_port()
        command = [str(python.parent / "infinity_emb"), "v2", "--model-id", str(folder / "model")]
        command += ["--served-model-name", "minilm", "--engine", engine, "--device", "cpu"]
        command += ["--no-bettertransformer", "--host", "127.0.0.1", "--port", str(port), *options]
        if engine == "optimum":
            to_onnx(python, folder / "model")
        log = folder / f"infinity-{engine}.log"
        return stack.enter_context(running(command, port, log, path="/embeddings"))

    return start


def plain(stack: ExitStack, folder: Path) -> Peer:
    python, port = environment("infinity", INFINITY), free_port()
    command = [str(python), str(HERE / "peer_server.py"), str(folder / "model"), str(port)]
    return stack.enter_context(running(command, port, folder / "plain.log"))


def llama(stack: ExitStack, folder: Path) -> Peer:
    binary, weights = (os.environ.get(f"MILVANE_BENCHMARK_LLAMA_{n}") for n in ("SERVER", "GGUF"))
    if not binary or not weights:
        raise RuntimeError("MILVANE_BENCHMARK_LLAMA_SERVER and _GGUF do not name it")
    port = free_port()
    command = [binary, "--model", weights, "--embeddings", "--pooling", "mean", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--parallel", str(CLIENTS), "--ctx-size", str(CLIENTS * 512)]
    command += ["--batch-size", "2048", "--ubatch-size", "2048", "--threads", "2"]
    return stack.enter_context(running(command, port, folder / "llama.log"))


def vllm(stack: ExitStack, folder: Path) -> Peer:
    python = os.environ.get("MILVANE_BENCHMARK_VLLM_PYTHON")
    if not python:
        raise RuntimeError("MILVANE_BENCHMARK_VLLM_PYTHON does not name it")
    port = free_port()
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model")]
    command += ["--served-model-name", "minilm", "--runner", "pooling", "--dtype", "bfloat16"]
    command += ["--max-model-len", "512", "--host", "127.0.0.1", "--port", str(port)]
    return stack.enter_context(running(command, port, folder / "vllm.log"))


SERVERS: Mapping[str, Callable[[ExitStack, Path], Peer]] = {
    OURS: ours,
    "sentence-transformers, FastAPI": plain,
    "Infinity, torch bf16": infinity("torch", "--dtype", "bfloat16"),
    # This engine does not read how the model pools, and would take the first token's state.
    "Infinity, ONNX": infinity("optimum", "--pooling-method", "mean"),
    "llama.cpp, bf16": llama,
    "vLLM, bf16": vllm,
}


@contextmanager
def halted(peers: Iterable[Peer]) -> Iterator[None]:
    """Let servers stand still: some of them keep cores busy while nobody asks them anything."""
    processes = [process for peer in peers for process in peer.family()]
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def texts_per_s(peer: Peer, contents: list[str]) -> float:
    """Ask for one text at a time from many clients at once."""
    return len(contents) / drive_server(peer.target, contents)


@dataclass
class Found:
    """What was measured of one server."""

    started_s: float
    deviation: float
    """Of similarities of known texts from ours: that it does the same work."""
    rates: dict[str, list[float]] = field(default_factory=dict)
    memory_mb: float = 0.0


def measure_all(rounds: int, scale: float) -> tuple[dict[str, Found], list[str]]:
    """Run all servers that can be had, and measure them in turn; says which cannot."""
    found: dict[str, Found] = {}
    peers: dict[str, Peer] = {}
    absent: list[str] = []
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        (folder / "model").mkdir()
        make_folder(folder / "model")
        expected: NDArray[np.float32] | None = None
        for name, start in SERVERS.items():
            try:
                peers[name] = peer = start(stack, folder)
            except RuntimeError as error:
                absent.append(f"{name}: {error}")
                print(f"  without {absent[-1]}", file=sys.stderr, flush=True)
                continue
            similarities = asyncio.run(similarities_of(peer))
            expected = similarities if expected is None else expected
            found[name] = Found(peer.started_s, float(np.abs(similarities - expected).max()))
        for number in range(rounds + 1):
            for mix in MIXES:
                count = max(CLIENTS * 2, int(mix.count * scale))
                for name, peer in peers.items():
                    with halted(other for other in peers.values() if other is not peer):
                        rate = texts_per_s(peer, mix.make(count, number))
                    if number:  # the first round warms up
                        found[name].rates.setdefault(mix.name, []).append(rate)
        for name, peer in peers.items():
            found[name].memory_mb = peer.memory_mb()
    return found, absent


def measure(*, quick: bool) -> Section:
    """Measure everything in one run."""
    found, absent = measure_all(1 if quick else 3, 0.1 if quick else 0.4)
    medians = {
        name: [float(np.median(each.rates[mix.name])) for mix in MIXES]
        for name, each in found.items()
    }
    rows = [
        [
            name,
            *(
                f"{rate:,.0f}" + (f" (x {medians[OURS][place] / rate:.1f})" if name != OURS else "")
                for place, rate in enumerate(medians[name])
            ),
            f"{each.started_s:.1f}",
            f"{each.memory_mb:,.0f}",
            f"{each.deviation:.4f}",
        ]
        for name, each in found.items()
    ]
    return Section(
        title="Our server beside others",
        question=f"How many texts per second come back over HTTP? Weights {ALL_MINILM_L6_V2.name} "
        f"for all, one text per request, {CLIENTS} clients, base64, no cache.",
        columns=[
            "server",
            *(mix.name for mix in MIXES),
            "start, s",
            "memory, MB",
            "differs by",
        ],
        rows=rows,
        notes=[
            "In brackets: ours divided by theirs. Differs by: the most that a cosine between known "
            "texts is off ours. The servers are asked in turn, the others halted meanwhile, "
            "on the cores that the client uses too. The start is from the command to the first "
            "vector. Those that are not there need a build of their own: "
            "`MILVANE_BENCHMARK_LLAMA_SERVER` and `_GGUF`, `MILVANE_BENCHMARK_VLLM_PYTHON` name "
            "them. vLLM has all cores, which it would not take by itself.",
            *(f"Not measured: {each}." for each in absent),
        ],
        plots=[
            Plot(
                "http-peers",
                "One text per request, 32 clients",
                "texts/s",
                [mix.name for mix in MIXES],
                medians,
            )
        ],
    )
