"""What the gateway adds to a call: beside the same call made at the engine's own socket."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx
import numpy as np
from pymilvus import DataType, Function, FunctionType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from benchmarks.corpus import texts
from benchmarks.report import Section
from benchmarks.timing import quantiles_ms, timed_s
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.models import Lane, Purpose
from milvane.inference.engine import open_engine
from milvane.settings import Settings, weights_dir
from milvane.testing.servers import MilvaneProcess

DIMENSION = 1024
ROWS = 1_000
WORDS = 8
LIMIT = 10
SERVICE = "/milvus.proto.milvus.MilvusService/"


def measure(*, quick: bool) -> Section:
    """Make the same calls at the engine and through the gateway in turn, one client."""
    count = 200 if quick else 2_000
    queries = texts(count, words=WORDS, seed=1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data_dir = Path(folder) / "data"
        server = stack.enter_context(MilvaneProcess(data_dir))
        encoder = stack.enter_context(Encoder())
        _fill(server.grpc_uri)
        time.sleep(3)  # the engine's own idle flush
        socket = next((data_dir / "run").glob("*.sock"))
        direct, gateway = (
            stack.enter_context(grpc.insecure_channel(target))
            for target in (f"unix:{socket}", server.grpc_uri.removeprefix("http://"))
        )
        rest = stack.enter_context(httpx.Client(base_url=server.grpc_uri))
        works = _works(direct, gateway, rest, encoder, queries)
        _check(works)
        durations = _in_turn(works, count)
    return _section(durations)


class Encoder:
    """The server's embedding engine in this process, as a server's event loop would call it."""

    def __enter__(self) -> Encoder:
        settings = Settings()
        self._loop = asyncio.new_event_loop()
        self._opened = open_engine(ALL_MINILM_L6_V2, weights_dir(settings), settings.inference)
        self._engine = self._loop.run_until_complete(self._opened.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._opened.__aexit__(None, None, None))
        self._loop.close()

    def encode(self, text: str) -> np.ndarray:
        """Embed a query."""
        return self._loop.run_until_complete(self._encode(text))

    async def _encode(self, text: str) -> np.ndarray:
        token_ids = await self._engine.tokenize([text], purpose=Purpose.QUERY)
        vectors = await self._engine.embed(token_ids, dimension=DIMENSION, lane=Lane.INTERACTIVE)
        return vectors[0]


def _fill(uri: str) -> None:
    client = MilvusClient(uri=uri)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=400)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSION)
    params = {
        "provider": "aliyun_milvus",
        "model_name": "text-embedding-v4",
        "dim": str(DIMENSION),
    }
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
    )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("rows", schema=schema, index_params=index)
    documents = [{"id": i, "document": text} for i, text in enumerate(texts(ROWS, words=WORDS))]
    for start in range(0, ROWS, 100):
        client.insert("rows", documents[start : start + 100])
    client.close()


def _works(
    direct: grpc.Channel,
    gateway: grpc.Channel,
    rest: httpx.Client,
    encoder: Encoder,
    queries: list[str],
) -> dict[str, Callable[[int], object]]:
    vectors = [encoder.encode(query) for query in queries]
    by_vector, by_text = (
        [_by_vector(each) for each in vectors],
        [_by_text(each) for each in queries],
    )
    as_json = [
        {"collectionName": "rows", "annsField": "dense", "data": [each.tolist()], "limit": LIMIT}
        for each in vectors
    ]
    state = milvus_pb2.GetLoadStateRequest(collection_name="rows").SerializeToString()
    state_of = {way: way.unary_unary(SERVICE + "GetLoadState") for way in (direct, gateway)}
    search = {way: way.unary_unary(SERVICE + "Search") for way in (direct, gateway)}
    return {
        "state direct": lambda _: state_of[direct](state),
        "state": lambda _: state_of[gateway](state),
        "vector direct": lambda i: search[direct](by_vector[i]),
        "vector": lambda i: search[gateway](by_vector[i]),
        "text": lambda i: search[gateway](by_text[i]),
        "encode": lambda i: encoder.encode(queries[i]),
        "rest": lambda i: rest.post("/v2/vectordb/entities/search", json=as_json[i]),
    }


def _check(works: dict[str, Callable[[int], object]]) -> None:
    """See that all searches find the same rows."""
    found = [
        list(milvus_pb2.SearchResults.FromString(works[name](0)).results.ids.int_id.data)
        for name in ("vector direct", "vector", "text")
    ]
    found.append([int(hit["id"]) for hit in works["rest"](0).json()["data"]])
    if len(found[0]) != LIMIT or any(each != found[0] for each in found):
        raise RuntimeError(f"the searches differ: {found}")


def _by_vector(vector: np.ndarray) -> bytes:
    packed = vector.astype("<f4").tobytes()
    return _search(common_pb2.PlaceholderType.FloatVector, packed)


def _by_text(text: str) -> bytes:
    return _search(common_pb2.PlaceholderType.VarChar, text.encode())


def _search(kind: common_pb2.PlaceholderType, value: bytes) -> bytes:
    placeholder = common_pb2.PlaceholderValue(tag="$0", type=kind, values=[value])
    group = common_pb2.PlaceholderGroup(placeholders=[placeholder])
    pairs = {"anns_field": "dense", "topk": str(LIMIT), "params": "{}"}
    request = milvus_pb2.SearchRequest(
        collection_name="rows",
        placeholder_group=group.SerializeToString(),
        dsl_type=common_pb2.DslType.BoolExprV1,
        output_fields=["id"],
        search_params=[common_pb2.KeyValuePair(key=k, value=v) for k, v in pairs.items()],
        nq=1,
    )
    return request.SerializeToString()


def _in_turn(works: dict[str, Callable[[int], object]], count: int) -> dict[str, np.ndarray]:
    """Do each once in turn, so that whatever else the machine does befalls all alike."""
    durations: dict[str, list[float]] = {name: [] for name in works}
    for number in range(count):
        for name, work in works.items():
            durations[name].append(timed_s(lambda work=work, number=number: work(number)))
    return {name: np.asarray(taken[count // 10 :]) for name, taken in durations.items()}


def _section(took: dict[str, np.ndarray]) -> Section:
    pairs = [
        ("load state", took["state direct"], took["state"]),
        ("vector search", took["vector direct"], took["vector"]),
        ("raw-text search, beside encoding and vector search",
         took["encode"] + took["vector direct"], took["text"]),
        ("vector search over REST", took["vector direct"], took["rest"]),
    ]  # fmt: skip
    rows = []
    for work, without, through in pairs:
        (before, before_p99), (after, after_p99) = quantiles_ms(without), quantiles_ms(through)
        added = np.median(through - without) * 1e3
        rows += [
            [f"{work}, p50 ms", f"{before:.3f}", f"{after:.3f}", f"{after / before:.2f}",
             f"{added:.3f}"],
            [f"{work}, p99 ms", f"{before_p99:.3f}", f"{after_p99:.3f}",
             f"{after_p99 / before_p99:.2f}", ""],
        ]  # fmt: skip
    encode = quantiles_ms(took["encode"])
    return Section(
        title="What the gateway adds",
        question="What does a call cost that goes through the gateway, beside the same bytes sent "
        "to the embedded engine's own socket? One client, calls in turn; "
        f"{ROWS:,} rows of {DIMENSION} dimensions, queries of {WORDS} words, top {LIMIT}.",
        columns=["work", "at the engine", "through the gateway", "ratio", "median added, ms"],
        rows=rows,
        notes=[
            "Added is the median difference of calls made one right after the other, which other "
            "work on the machine disturbs less than the medians.",
            f"For raw text, the first column is the sum of a vector search at the engine and of "
            f"encoding in a process of its own (p50 {encode[0]:.3f} ms).",
        ],
    )
