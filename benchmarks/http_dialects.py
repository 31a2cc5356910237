"""What the HTTP dialects cost beside the engine, next to a plain server around the same one."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.corpus import texts
from benchmarks.report import Section
from benchmarks.timing import timed_s
from milvane.apis.app import create_app
from milvane.apis.health import Readiness
from milvane.apis.openai.translate import render_embeddings
from milvane.apis.openai.wire import EmbeddingsBody
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.models import Lane, Purpose
from milvane.inference.engine import Engine, open_engine
from milvane.inference.settings import InferenceSettings
from milvane.inference.vocabulary import read_lexicon
from milvane.serving.embedding import Embedded, EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.settings import load_settings, weights_dir

MODEL = "text-embedding-v4"
DIMENSION = 1024
INPUTS = 10
WORDS = 32
ENCODED = 1000


class TimedEngine:
    """Adds up the time that requests wait for the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.waited_s = 0.0

    @property
    def fingerprint(self) -> str:
        """See the engine."""
        return self._engine.fingerprint

    @property
    def width(self) -> int:
        """See the engine."""
        return self._engine.width

    def takes_instruction(self, purpose: Purpose) -> bool:
        """See the engine."""
        return self._engine.takes_instruction(purpose)

    async def tokenize(
        self, contents: Any, *, purpose: Purpose, instruction: str | None = None
    ) -> Any:
        """Tokenize, timed."""
        work = self._engine.tokenize(contents, purpose=purpose, instruction=instruction)
        return await self._timed(work)

    async def embed(self, token_ids: Any, *, dimension: int, lane: Lane) -> Any:
        """Embed, timed."""
        return await self._timed(self._engine.embed(token_ids, dimension=dimension, lane=lane))

    async def _timed(self, work: Awaitable[Any]) -> Any:
        begun = time.perf_counter()
        try:
            return await work
        finally:
            self.waited_s += time.perf_counter() - begun


class PlainBody(BaseModel):
    """The body that the plain server takes."""

    input: list[str]


def plain_app(engine: TimedEngine) -> FastAPI:
    """Build what one would write in ten lines: no checks, no errors, no ids."""
    app = FastAPI()

    @app.post("/embed")
    async def embed(body: PlainBody) -> dict[str, Any]:
        ids = await engine.tokenize(body.input, purpose=Purpose.DOCUMENT)
        vectors = await engine.embed(ids, dimension=DIMENSION, lane=Lane.INTERACTIVE)
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
    async with open_engine(ALL_MINILM_L6_V2, folder, InferenceSettings()) as real:
        engine = TimedEngine(real)
        weighers = {name: read_lexicon(ALL_MINILM_L6_V2, folder)}
        service = EmbeddingService({name: engine}, ServingSettings(), weighers=weighers)
        ours = create_app(service, ApisSettings(limit_rates=False), Readiness)
        apps = {"plain FastAPI": plain_app(engine)}
        asked = ways(texts(INPUTS, words=WORDS))
        totals: dict[str, list[float]] = {way: [] for way in asked}
        outside: dict[str, list[float]] = {way: [] for way in asked}
        for number in range(rounds + 3):  # the first ones warm up
            for way, (path, body) in asked.items():
                engine.waited_s, begun = 0.0, time.perf_counter()
                await post(apps.get(way, ours), path, json.dumps(body).encode())
                total = time.perf_counter() - begun
                if number >= 3:
                    totals[way].append(total)
                    outside[way].append(total - engine.waited_s)
        return [_row(way, totals[way], outside[way]) for way in asked]


def _row(way: str, totals: list[float], outside: list[float]) -> list[str]:
    total, rest = float(np.median(totals)), float(np.median(outside))
    return [way, f"{total * 1000:.2f}", f"{rest * 1000:.2f}", f"{rest / total:.1%}"]


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
    rounds = 5 if quick else 200
    return Section(
        title="HTTP dialects",
        question=(
            f"How much of a request for {INPUTS} texts of {WORDS} words, {DIMENSION:,} dimensions, "
            "is spent outside tokenizing and the forward pass? Requests go straight into the "
            "application, in turn, on the default weights; the plain server is ten lines of "
            "FastAPI around the same engine, without checks, ids or errors."
        ),
        columns=["way", "p50 ms", "outside the engine, p50 ms", "share"],
        rows=asyncio.run(_measure(rounds)),
        notes=[_encoding_note(5 if quick else 50)],
    )
