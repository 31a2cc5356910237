"""What the HTTP dialects cost beside the engine, next to a plain server around the same one."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel

from benchmarks.corpus import texts
from benchmarks.report import Section
from benchmarks.timing import timed_s
from milvane.apis.app import create_app
from milvane.apis.openai.translate import render_embeddings
from milvane.apis.openai.wire import EmbeddingsBody
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.readiness import Readiness
from milvane.inference.adapting import adapt
from milvane.inference.batching import round_up
from milvane.inference.calibration import read_calibration
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.engine import Engine, open_engine
from milvane.inference.runtimes.port import Runtime
from milvane.inference.settings import InferenceSettings
from milvane.inference.vocabulary import read_lexicon
from milvane.inference.windowing import normalize_rows
from milvane.serving.embedding import Embedded, EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.settings import load_settings, weights_dir

MODEL = "text-embedding-v4"
DIMENSION = 1024
INPUTS = 10
WORDS = 32
ENCODED = 1000


class Stopwatch:
    """Adds up the time in which any of some functions ran, on whatever threads."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def watch(self, owner: Any, name: str) -> None:
        """Time a method of an object from now on."""
        method = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self._spans.append((begun, time.perf_counter()))

        setattr(owner, name, timed)

    def take_s(self) -> float:
        """Say how long any of them ran since this was last asked; what overlaps counts once."""
        spans, self._spans = sorted(self._spans), []
        total_s = last = 0.0
        for begin, end in spans:
            total_s += max(0.0, end - max(begin, last))
            last = max(last, end)
        return total_s


@dataclass(frozen=True)
class Bench:
    """An engine whose tokenizer and network are timed."""

    engine: Engine
    encoder: TextEncoder
    runtime: Runtime
    inside: Stopwatch


def watched(engine: Engine) -> Bench:
    """Time the parts of an engine that no server can save."""
    encoder, runtime = engine._encoder, engine._batcher._runtime  # noqa: SLF001 - to be timed
    inside = Stopwatch()
    inside.watch(encoder, "tokenize")
    inside.watch(runtime, "forward")
    return Bench(engine, encoder, runtime, inside)


class PlainBody(BaseModel):
    """The body that the plain server takes."""

    input: list[str]


def plain_app(bench: Bench) -> FastAPI:
    """Build what one would write in ten lines: no checks, no errors, no queue, no long texts."""
    app = FastAPI()
    basis = read_calibration(ALL_MINILM_L6_V2).basis

    @app.post("/embed")
    def embed(body: PlainBody) -> dict[str, Any]:
        inputs = [bench.encoder.frame(ids) for ids in bench.encoder.tokenize(body.input)]
        lengths = np.array([len(ids) for ids in inputs], np.int32)
        padded = np.zeros((len(inputs), round_up(int(lengths.max()))), np.int32)
        for row, ids in enumerate(inputs):
            padded[row, : len(ids)] = ids
        pooled = bench.runtime.forward(padded, lengths)
        vectors = adapt(normalize_rows(pooled), DIMENSION, basis)
        return {
            "data": [{"index": row, "embedding": each.tolist()} for row, each in enumerate(vectors)]
        }

    return app


async def post(app: Any, path: str, body: bytes) -> None:
    """Send one request straight into an application, without a client's own cost."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]
    statuses = []

    async def receive() -> dict[str, Any]:
        if pending:
            return pending.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status"))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("localhost", 1),
        "http_version": "1.1",
    }
    await app(scope, receive, send)
    assert statuses[0] == 200, statuses


def ways(contents: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name what is asked of which address."""
    native = "/api/v1/services/embeddings/text-embedding/text-embedding"
    search = "/v3/openapi/workspaces/default/text-embedding/ops-text-embedding-002"
    asked = {"model": MODEL, "input": {"texts": contents}}
    both = {**asked, "parameters": {"output_type": "dense&sparse"}}
    return {
        "OpenAI, base64": (
            "/v1/embeddings",
            {"model": MODEL, "input": contents, "encoding_format": "base64"},
        ),
        "OpenAI, numbers": ("/v1/embeddings", {"model": MODEL, "input": contents}),
        "DashScope, dense": (native, asked),
        "DashScope, dense and sparse": (native, both),
        "AI Search": (search, {"input": contents}),
        "plain FastAPI": ("/embed", {"input": contents}),
    }


async def _measure(rounds: int) -> list[list[str]]:
    folder = weights_dir(load_settings().settings)
    name = ALL_MINILM_L6_V2.name
    async with open_engine(ALL_MINILM_L6_V2, folder, InferenceSettings()) as engine:
        bench = watched(engine)
        weighers = {name: read_lexicon(ALL_MINILM_L6_V2, folder)}
        service = EmbeddingService({name: engine}, ServingSettings(), weighers=weighers)
        ours = create_app(service, ApisSettings(limit_rates=False), Readiness)
        apps = {"plain FastAPI": plain_app(bench)}
        asked = ways(texts(INPUTS, words=WORDS))
        measured: dict[str, list[tuple[float, float]]] = {way: [] for way in asked}
        for number in range(rounds + 3):  # the first ones warm up
            for way, (path, body) in asked.items():
                bench.inside.take_s()
                begun = time.perf_counter()
                await post(apps.get(way, ours), path, json.dumps(body).encode())
                total_s = time.perf_counter() - begun
                if number >= 3:
                    measured[way].append((total_s, total_s - bench.inside.take_s()))
        return [_row(way, np.array(measured[way])) for way in asked]


def _row(way: str, measured_s: NDArray[np.float64]) -> list[str]:
    total_ms, outside_ms = np.median(measured_s, axis=0) * 1000
    share = np.median(measured_s[:, 1] / measured_s[:, 0])
    return [way, f"{total_ms:.2f}", f"{outside_ms:.2f}", f"{share:.1%}"]


def _encoding_note(rounds: int) -> str:
    vectors = np.random.default_rng(0).random((ENCODED, DIMENSION), np.float32)
    embedded = Embedded(vectors=vectors, token_counts=[1] * ENCODED, cut_inputs=[])
    body = EmbeddingsBody(model=MODEL, input=["a"], encoding_format="base64")
    ours = min(
        timed_s(lambda: b"".join(render_embeddings(embedded, body=body, request_id="r")))
        for _ in range(rounds)
    )
    stock = min(
        timed_s(lambda: json.dumps([base64.b64encode(row).decode() for row in vectors]))
        for _ in range(rounds)
    )
    return (
        f"An answer of {ENCODED:,} base64 vectors of {DIMENSION:,} dimensions is written in "
        f"{ours * 1000:.2f} ms; with the standard library's base64 and json it takes "
        f"{stock * 1000:.2f} ms, {stock / ours:.1f} times as long."
    )


def measure(*, quick: bool) -> Section:
    """Measure all dialects in turn, round by round."""
    rounds = 5 if quick else 100
    return Section(
        title="HTTP dialects",
        question=(
            f"How much of a request for {INPUTS} texts of {WORDS} words, {DIMENSION:,} dimensions, "
            "is spent outside tokenizing and the forward pass, whose own time is taken where they "
            "run? Requests go straight into the application, in turn, on the default weights; the "
            "plain server is ten lines of FastAPI around the same tokenizer and network, without "
            "checks, errors, a queue, or windows for long texts."
        ),
        columns=["way", "p50 ms", "outside both, p50 ms", "share, p50"],
        rows=asyncio.run(_measure(rounds)),
        notes=[
            _encoding_note(5 if quick else 50),
            "What waits for a core counts as outside: this was run with `chrt -f 10`, since other "
            "work ran on the machine.",
        ],
    )
