"""The engine and the HTTP server around it, next to the network alone."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.corpus import skewed_texts, texts
from benchmarks.gateway_inserts import ROWS, WRITERS, Writers
from benchmarks.http_load import CLIENTS, MIXES, Connection, Target, drive, drive_server
from benchmarks.products import product_rates
from benchmarks.report import Plot, Section
from benchmarks.timing import quantiles_ms
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.models import Lane, Purpose
from milvane.inference.batching import plan_pass, round_up
from milvane.inference.encoders.recipe import read_recipe
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.engine import Engine, open_engine
from milvane.inference.runtimes.opening import open_runtime
from milvane.inference.runtimes.port import Runtime
from milvane.inference.runtimes.reading import read_network
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import find
from milvane.inference.windowing import normalize_rows
from milvane.serving.caching.cache import VectorCache, open_cache
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.embedding import EmbeddingService, EmbedRequest
from milvane.serving.settings import ServingSettings
from milvane.settings import load_settings, weights_dir
from milvane.testing.servers import MilvaneProcess

WEIGHTS = ALL_MINILM_L6_V2
FRONT = 256
PASS_TOKENS = InferenceSettings().max_pass_tokens

Ids = list[NDArray[np.int32]]


@dataclass
class Rates:
    """Texts per second of each way, one value per round."""

    alone: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    http: list[float] = field(default_factory=list)
    gateway: list[float] = field(default_factory=list)


def passes(inputs: Ids, *, packs: bool) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Pack inputs as the server does, all of them being there from the start."""
    waiting, front = list(reversed(inputs)), []
    while waiting or front:
        while waiting and len(front) < FRONT:
            front.append(waiting.pop())
        chosen = plan_pass([len(ids) for ids in front], PASS_TOKENS, packs=packs)
        batch = [front[position] for position in chosen]
        leaving = set(chosen)
        front = [ids for position, ids in enumerate(front) if position not in leaving]
        lengths = np.array([len(ids) for ids in batch], np.int32)
        padded = np.zeros((len(batch), round_up(int(lengths.max()))), np.int32)
        for row, ids in enumerate(batch):
            padded[row, : len(ids)] = ids
        yield padded, lengths


def forward_all(runtime: Runtime, inputs: Ids) -> float:
    """Run the network over ready batches, as many at once as it takes; returns the seconds."""
    work: SimpleQueue[tuple[NDArray[np.int32], NDArray[np.int32]]] = SimpleQueue()
    for batch in passes(inputs, packs=runtime.packs):
        work.put(batch)

    def run() -> None:
        try:
            while True:
                runtime.forward(*work.get_nowait())
        except Empty:
            return

    threads = [threading.Thread(target=run) for _ in range(runtime.concurrency)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


async def embed_one(engine: Engine, content: str, lane: Lane) -> None:
    """Embed one text as a front door would, without cache."""
    ids = await engine.tokenize([content], purpose=Purpose.QUERY)
    await engine.embed(ids, dimension=384, lane=lane)


async def compare(rounds: int, scale: float) -> dict[str, Rates]:
    """Measure the network alone, the engine and the server in turn, on fresh texts each time."""
    folder = weights_dir(load_settings().settings)
    files = find(WEIGHTS, folder)
    recipe = read_recipe(files)
    encoder = TextEncoder(files, recipe, WEIGHTS.window_tokens)
    found = {mix.name: Rates() for mix in MIXES}
    async with AsyncExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory())
        off = {"MILVANE_CACHE__ENABLED": "false"}
        server = stack.enter_context(MilvaneProcess(Path(data) / "data", environment=off))
        writers = stack.enter_context(Writers(server.grpc_uri, dimension=384))
        engine = await stack.enter_async_context(open_engine(WEIGHTS, folder, InferenceSettings()))
        runtime = open_runtime(files, recipe, threads=0, precision="auto")
        stack.callback(runtime.close)
        for number in range(rounds + 1):
            for mix in MIXES:
                count = max(CLIENTS * 2, int(mix.count * scale))
                fresh = iter(mix.make(4 * count, number))
                parts = [[next(fresh) for _ in range(count)] for _ in range(4)]
                contents = encoder.tokenize(parts[0])
                inputs = [encoder.frame(ids[: encoder.content_tokens]) for ids in contents]
                alone_s = await asyncio.to_thread(forward_all, runtime, inputs)
                engine_s = await drive(
                    lambda _, content: embed_one(engine, content, Lane.BULK), parts[1]
                )
                http_s = await asyncio.to_thread(drive_server, Target(server.http_url), parts[2])
                gateway_s = await asyncio.to_thread(writers.insert, parts[3])
                if number:  # the first round warms up
                    rates = found[mix.name]
                    rates.gateway.append(count / gateway_s)
                    rates.alone.append(count / alone_s)
                    rates.engine.append(count / engine_s)
                    rates.http.append(count / http_s)
    return found


@dataclass
class Share:
    """What the network alone reaches with texts of one length."""

    tokens: int
    operations_per_s: float
    product_rate: float
    """Operations per second of bare matrix products, the best of all sizes."""
    least_cosine: float
    """Of a text's vector to that in f32."""


def compare_with_products(rounds: int) -> list[Share]:
    """Measure the network alone and bare products in the same precision, in turn."""
    files = find(WEIGHTS, weights_dir(load_settings().settings))
    recipe, network = read_recipe(files), read_network(files)
    runtime = open_runtime(files, recipe, threads=0, precision="auto")
    exact = open_runtime(files, recipe, threads=0, precision="f32")
    products = product_rates(runtime.precision, runtime.threads)
    encoder = TextEncoder(files, recipe, WEIGHTS.window_tokens)
    found = []
    for tokens, count in ((40, 1000), (200, 240)):
        long = encoder.tokenize(texts(count, words=tokens, seed=tokens))
        inputs = [encoder.frame(ids[: tokens - 2]) for ids in long]
        network_s, limits = [], []
        for _ in range(rounds + 1):
            network_s.append(forward_all(runtime, inputs))
            limits += [product() for product in products]
        a_token = 2 * network.parameters + 4 * tokens * network.width * len(network.layers)
        rows = np.array(inputs[:64], np.int32)
        lengths = np.full(len(rows), tokens, np.int32)
        here, there = (
            normalize_rows(each.forward(rows, lengths)[:, : each.width])
            for each in (runtime, exact)
        )
        found.append(
            Share(
                tokens,
                a_token * tokens * count / min(network_s),
                max(limits),
                float((here * there).sum(axis=1).min()),
            )
        )
    runtime.close()
    exact.close()
    return found


@dataclass
class Latencies:
    """What single queries took, in seconds, and the bulk load beside them."""

    network: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    http: list[float] = field(default_factory=list)
    engine_busy: list[float] = field(default_factory=list)
    http_busy: list[float] = field(default_factory=list)
    bulk_pass: list[float] = field(default_factory=list)
    bulk_alone: float = 0.0
    """Texts per second."""
    bulk_disturbed: float = 0.0
    memory_mb: float = 0.0
    idle_memory_mb: float = 0.0


async def timed(work: Awaitable[object], into: list[float]) -> None:
    """Note how long something took."""
    begun = time.perf_counter()
    await work
    into.append(time.perf_counter() - begun)


async def under_load(
    ask: Callable[[int], Awaitable[object]],
    load: Callable[[int], Awaitable[int]],
    count: int,
    into: list[float],
    pause_s: float = 0.05,
) -> tuple[float, float]:
    """
    Ask single questions during a bulk load; returns its texts per second without and with them.

    The load runs in four requests at once, each followed by the next.
    """

    async def fill(until: asyncio.Event, done: list[int]) -> None:
        while not until.is_set():
            done.append(await load(len(done)))

    async def rate(questions: int, times: list[float]) -> float:
        until, done = asyncio.Event(), list[int]()
        begun = time.perf_counter()
        fillers = [asyncio.ensure_future(fill(until, done)) for _ in range(4)]
        await asyncio.sleep(0.2)
        for number in range(questions):
            await timed(ask(number), times)
            await asyncio.sleep(pause_s)
        if not questions:
            await asyncio.sleep(count * pause_s)
        until.set()
        await asyncio.gather(*fillers)
        return sum(done) / (time.perf_counter() - begun)

    return await rate(0, []), await rate(count, into)


async def measure_latencies(count: int) -> Latencies:
    """Ask single queries, idle and during a saturating bulk load, of the engine and over HTTP."""
    folder = weights_dir(load_settings().settings)
    files = find(WEIGHTS, folder)
    recipe = read_recipe(files)
    encoder = TextEncoder(files, recipe, WEIGHTS.window_tokens)
    found = Latencies()
    questions = iter(texts(8 * count + 64, words=10, seed=9))
    documents = texts(40_000, words=32, seed=10)
    next_document = iter(range(0, len(documents), 64))

    def some_documents() -> list[str]:
        start = next(next_document)
        return documents[start : start + 64]

    async with open_engine(WEIGHTS, folder, InferenceSettings()) as engine:
        runtime = open_runtime(files, recipe, threads=0, precision="auto")
        for number in range(count + 10):
            (ids,) = encoder.tokenize([next(questions)])
            batch = next(passes([encoder.frame(ids)], packs=runtime.packs))
            begun = time.perf_counter()
            runtime.forward(*batch)
            if number >= 10:
                found.network.append(time.perf_counter() - begun)
            if number >= 10:
                await timed(embed_one(engine, next(questions), Lane.INTERACTIVE), found.engine)
        runtime.close()

        async def ask(_: int) -> None:
            await embed_one(engine, next(questions), Lane.INTERACTIVE)

        async def load(_: int) -> int:
            chosen = some_documents()
            ids = await engine.tokenize(chosen, purpose=Purpose.DOCUMENT)
            await engine.embed(ids, dimension=384, lane=Lane.BULK)
            return len(chosen)

        before = engine.counts.passes, engine.counts.busy_s
        found.bulk_alone, found.bulk_disturbed = await under_load(
            ask, load, count, found.engine_busy
        )
        done = engine.counts.passes - before[0], engine.counts.busy_s - before[1]
        found.bulk_pass.append(done[1] / done[0])
    await _over_http(found, questions, count)
    return found


async def _over_http(found: Latencies, questions: Iterator[str], count: int) -> None:
    off = {"MILVANE_CACHE__ENABLED": "false"}
    with (
        tempfile.TemporaryDirectory() as data,
        MilvaneProcess(Path(data) / "data", environment=off) as server,
    ):
        memory = psutil.Process(server.process.pid).memory_info
        found.idle_memory_mb = memory().rss / 1e6
        connection = Connection(Target(server.http_url))
        for number in range(count + 10):
            times = found.http if number >= 10 else []
            await timed(connection.embed([next(questions)]), times)
        contents = skewed_texts(CLIENTS * 40, seed=11)
        await asyncio.to_thread(drive_server, Target(server.http_url), contents)
        found.memory_mb = memory().rss / 1e6
        await connection.close()


def start_times(rounds: int) -> tuple[list[float], list[float]]:
    """Start the server, and the engine alone, until the first vector; returns seconds of each."""
    server_s, engine_s = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as data:
            begun = time.perf_counter()
            with MilvaneProcess(Path(data) / "data") as server:
                asyncio.run(_first_vector(server.http_url))
                server_s.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        asyncio.run(_first_of_engine())
        engine_s.append(time.perf_counter() - begun)
    return server_s, engine_s


async def _first_vector(url: str) -> None:
    connection = Connection(Target(url))
    await connection.embed(["hello"])
    await connection.close()


async def _first_of_engine() -> None:
    folder = weights_dir(load_settings().settings)
    async with open_engine(WEIGHTS, folder, InferenceSettings()) as engine:
        await embed_one(engine, "hello", Lane.INTERACTIVE)


async def cache_costs(rounds: int, scale: float) -> tuple[float, float, float]:
    """
    Embed a stream without repeats with and without a cache in front, then the same once more.

    Returns:
        Texts per second without a cache, with one, and when all is known.
    """
    folder = weights_dir(load_settings().settings)
    without, with_cache, known = [], [], []
    count = int(500 * scale)  # short turns: other work on the machine comes and goes
    async with AsyncExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory())
        engine = await stack.enter_async_context(open_engine(WEIGHTS, folder, InferenceSettings()))
        cache = await stack.enter_async_context(open_cache(CacheSettings(), Path(data)))
        for number in range(8 * rounds + 2):
            contents = texts(count, words=32, seed=100 + number)
            pair = [(None, without), (cache, with_cache)]
            for each, into in pair if number % 2 else reversed(pair):
                rate = count / await _stream(engine, each, contents)
                if number > 1:
                    into.append(rate)
            known.append(count / await _stream(engine, cache, contents))
    return tuple(float(np.median(rates)) for rates in (without, with_cache, known))  # type: ignore[return-value]


async def _stream(engine: Engine, cache: VectorCache | None, contents: Sequence[str]) -> float:
    service = EmbeddingService({WEIGHTS.name: engine}, ServingSettings(), cache=cache)
    requests = [
        EmbedRequest("text-embedding-v4", contents[start : start + 32], lane=Lane.BULK)
        for start in range(0, len(contents), 32)
    ]
    waiting = list(reversed(requests))

    async def client() -> None:
        while waiting:
            await service.embed(waiting.pop())

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(4)))
    return time.perf_counter() - begun


def measure(*, quick: bool) -> Section:
    """Measure everything in one run."""
    rounds, scale, count = (1, 0.2, 20) if quick else (3, 1.0, 200)
    rates = asyncio.run(compare(rounds, scale))
    print("  bare products ...", flush=True)
    shares = compare_with_products(rounds)
    print("  single queries ...", flush=True)
    latencies = asyncio.run(measure_latencies(count))
    print("  starts ...", flush=True)
    server_s, engine_s = start_times(1 if quick else 5)
    print("  cache ...", flush=True)
    without, with_cache, known = asyncio.run(cache_costs(rounds, scale))
    rows = []
    for name, each in rates.items():
        ways = (each.alone, each.engine, each.http, each.gateway)
        alone, engine, http, gateway = (float(np.median(rates)) for rates in ways)
        rows += [
            [f"engine, {name}", f"{engine:,.0f} texts/s", f"{alone:,.0f}", f"{engine / alone:.2f}"],
            [f"HTTP, {name}", f"{http:,.0f} texts/s", f"{alone:,.0f}", f"{http / alone:.2f}"],
            [
                f"raw-text inserts, {name}",
                f"{gateway:,.0f} texts/s",
                f"{alone:,.0f}",
                f"{gateway / alone:.2f}",
            ],
        ]
    rows += [
        [
            f"network alone, {each.tokens} tokens, cosine to f32 at least {each.least_cosine:.5f}",
            f"{each.operations_per_s / 1e9:,.0f} GFLOP/s",
            f"{each.product_rate / 1e9:,.0f}",
            f"{each.operations_per_s / each.product_rate:.2f}",
        ]
        for each in shares
    ]
    rows += _latency_rows(latencies)
    rows += [
        ["first vector of the engine", f"{min(engine_s):.2f} s", "", ""],
        ["first vector of the server", f"{min(server_s):.2f} s", "", ""],
        ["memory when ready", f"{latencies.idle_memory_mb:,.0f} MB", "", ""],
        ["memory after a mixed load", f"{latencies.memory_mb:,.0f} MB", "", ""],
        _row("cache, no repeats", with_cache, without, "texts/s"),
        _row("cache, all known", known, without, "texts/s"),
    ]
    return Section(
        title="The inference engine",
        question="How much of what the network alone computes reaches a client? Weights "
        f"{WEIGHTS.name}; one text per request, {CLIENTS} clients, each text new, no cache but in "
        "the last two rows. The network alone gets the same texts tokenized and packed, all at "
        f"once. Inserts are {WRITERS} clients of pymilvus with {ROWS} rows each time. Clients run "
        "on the same cores as the server.",
        columns=["work", "here", "to compare", "ratio"],
        rows=rows,
        notes=[
            "To compare: for texts per second, the network alone; for that, bare matrix products "
            "in the same precision, the best of four sizes; for a query, its forward pass "
            "alone; for a query during a bulk load, one pass of that load; for the bulk load, the "
            "same without queries (one every 50 ms); for the cache, the same stream without one. "
            "Start times are the best of several.",
            "What is lost over HTTP, in processor time of a query: the server's main thread takes "
            "0.36 ms (parsing, checks, tokens, ledger, answer; 0.63 while requests were parsed in "
            "Python), the client 0.05, and passes over the texts of 32 clients hold 8 to 16 of "
            "them, which costs 0.95 ms each where full passes take 0.85. So six tenths of the "
            "network alone could come out if no core ever waited, and eight tenths for documents.",
        ],
        plots=[
            Plot(
                "inference-throughput",
                "One text per request, 32 clients",
                "texts/s",
                list(rates),
                {
                    "network alone": [float(np.median(each.alone)) for each in rates.values()],
                    "engine": [float(np.median(each.engine)) for each in rates.values()],
                    "HTTP": [float(np.median(each.http)) for each in rates.values()],
                    "inserts": [float(np.median(each.gateway)) for each in rates.values()],
                },
            )
        ],
    )


def _latency_rows(found: Latencies) -> list[list[str]]:
    network_ms, _ = quantiles_ms(found.network)
    pass_ms = found.bulk_pass[0] * 1000
    rows = []
    for name, times in (("engine", found.engine), ("HTTP", found.http)):
        p50, p99 = quantiles_ms(times)
        rows += [
            _row(f"one query, idle, {name}, p50", p50, network_ms, "ms"),
            _row(f"one query, idle, {name}, p99", p99, network_ms, "ms"),
        ]
    p50, p99 = quantiles_ms(found.engine_busy)
    return [
        *rows,
        _row("one query during a bulk load, p50", p50, pass_ms, "ms"),
        _row("one query during a bulk load, p99", p99, pass_ms, "ms"),
        _row("bulk load with queries beside it", found.bulk_disturbed, found.bulk_alone, "texts/s"),
    ]


def _row(what: str, here: float, compared: float, unit: str) -> list[str]:
    return [what, f"{here:,.1f} {unit}", f"{compared:,.1f}", f"{here / compared:.2f}"]
