"""A gateway between a raw gRPC client and a loopback upstream that keeps every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.gateway.bindings import Bindings
from milvane.gateway.calls import SERVICE
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.rpcs.services import Services
from milvane.gateway.server import GatewayServer, MilvusHandler
from milvane.gateway.settings import Compat, GatewaySettings, OtherWeights
from milvane.instances.upstream import GrpcConnection, Upstream
from milvane.serving.access import AccessSettings, Authenticator
from milvane.serving.caching.cache import VectorCache
from milvane.serving.embedding import EmbeddingService
from milvane.serving.functions import NoProviders
from milvane.serving.ports import RemoteProviders
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine

OPEN = AccessSettings()
WEIGHTS = ALL_MINILM_L6_V2.name


@dataclass
class Recorder(grpc.GenericRpcHandler):
    """An upstream that answers every call with a canned reply, and remembers what it was sent."""

    calls: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    replies: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, tuple[grpc.StatusCode, str]] = field(default_factory=dict)
    holding: set[str] = field(default_factory=set)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Handle any method."""
        name = details.method.rpartition("/")[2]
        if name in {"CreateReplicateStream", "DumpMessages"}:
            return grpc.stream_stream_rpc_method_handler(self._echo)

        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.calls.append((details.method, request, dict(context.invocation_metadata())))
            if name in self.refusals:
                await context.abort(*self.refusals[name])
            if name in self.holding:
                await self._hold()
            return self.replies.get(name, b"\x0a\x00")

        return grpc.unary_unary_rpc_method_handler(answer)

    async def _hold(self) -> None:
        self.held.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _echo(self, requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request[::-1]


@dataclass
class Loopback:
    """Where the upstream listens."""

    target: str
    name: str = "the upstream"
    when_absent: str = "does not answer"

    async def wait_target(self, timeout_s: float, *, unlike: str | None = None) -> str:
        """Say it at once."""
        return self.target

    def connect(self, target: str) -> GrpcConnection:
        """Call it through gRPC."""
        return GrpcConnection(target)


@dataclass
class Bench:
    """A client's channel to a gateway, and what is behind it."""

    channel: grpc.aio.Channel
    upstream: Recorder
    engine: HashingEngine
    stop_upstream: grpc.aio.Server

    async def call(self, name: str, request: bytes = b"", **metadata: str) -> bytes:
        """Call an RPC with bytes."""
        method = name if name.startswith("/") else SERVICE + name
        return await self.channel.unary_unary(method)(
            request, metadata=tuple(metadata.items()), timeout=10
        )


@asynccontextmanager
async def a_bench(
    access: AccessSettings = OPEN,
    *,
    compat: Compat = "2.6",
    providers: RemoteProviders | None = None,
    cache: VectorCache | None = None,
    engine: HashingEngine | None = None,
    max_message_bytes: int = 1 << 20,
    other_weights: OtherWeights = "refuse",
    embedding: EmbeddingService | None = None,
) -> AsyncIterator[Bench]:
    """Build the bench with a gateway that lets these in, is that Milvus and calls those."""
    recorder, engine = Recorder(), engine or HashingEngine()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((recorder,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    services = Services(
        embedding=embedding
        or EmbeddingService(
            {WEIGHTS: engine},
            ServingSettings(),
            weighers={WEIGHTS: CountingWeigher()},
            cache=cache,
        ),
        bindings=Bindings(max_cached=10),
        next_revision=iter(range(1, 1000)).__next__,
        providers=providers or NoProviders(),
        compat=compat,
        other_weights=other_weights,
    )
    settings = GatewaySettings(max_message_bytes=max_message_bytes, drain_timeout_s=0.5)
    async with (
        _stopping(server),
        Upstream(Loopback(f"127.0.0.1:{port}"), wait_for_restart_s=1) as upstream,
        GatewayServer(
            MilvusHandler(Dispatcher(upstream, services, Authenticator(access)), compat=compat),
            settings,
            host="127.0.0.1",
            port=0,
        ) as gateway,
        grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel,
    ):
        yield Bench(channel, recorder, engine, server)


@asynccontextmanager
async def _stopping(server: grpc.aio.Server) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await server.stop(None)


def described(**functions: str) -> bytes:
    """Describe a collection `articles` as an upstream that was given its functions."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="id", data_type=schema_pb2.DataType.Int64, is_primary_key=True)
    text = schema.fields.add(name="document", data_type=schema_pb2.DataType.VarChar)
    text.type_params.add(key="max_length", value="100")
    vector = schema.fields.add(name="dense", data_type=schema_pb2.DataType.FloatVector)
    vector.type_params.add(key="dim", value="1024")
    response = milvus_pb2.DescribeCollectionResponse(schema=schema)
    for key, value in functions.items():
        response.properties.add(key=key.replace("_", "."), value=value)
    return response.SerializeToString()


def add_function(
    schema: schema_pb2.CollectionSchema, name: str, output: str, **params: str
) -> schema_pb2.FunctionSchema:
    """Fill a field of a schema from its `document`, with our own provider if none is named."""
    function = schema.functions.add(
        name=name,
        type=schema_pb2.FunctionType.TextEmbedding,
        input_field_names=["document"],
        output_field_names=[output],
    )
    given = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"} | params
    for key, value in given.items():
        function.params.add(key=key, value=value)
    return function


async def with_function(bench: Bench, **credentials: str) -> None:
    """Create `articles` with a function, and let the upstream describe it."""
    description = milvus_pb2.DescribeCollectionResponse.FromString(described())
    add_function(description.schema, "embed", "dense")
    await create(bench, description.schema, **credentials)


async def create(
    bench: Bench, schema: schema_pb2.CollectionSchema, **credentials: str
) -> common_pb2.Status:
    """Create a collection, and let the upstream describe what it was told to make."""
    creation = milvus_pb2.CreateCollectionRequest(
        collection_name=schema.name, schema=schema.SerializeToString()
    )
    bench.upstream.replies["CreateCollection"] = b""
    reply = await bench.call("CreateCollection", creation.SerializeToString(), **credentials)
    status = common_pb2.Status.FromString(reply)
    if not status.code:
        stored = milvus_pb2.CreateCollectionRequest.FromString(bench.upstream.calls[-1][1])
        description = milvus_pb2.DescribeCollectionResponse(properties=stored.properties)
        description.schema.ParseFromString(stored.schema)
        bench.upstream.replies["DescribeCollection"] = description.SerializeToString()
    return status


def a_write(*texts: str, revision: int = 0) -> bytes:
    """Insert these texts into `articles`."""
    request = milvus_pb2.InsertRequest(
        collection_name="articles", num_rows=len(texts), schema_timestamp=revision
    )
    ids = request.fields_data.add(field_name="id", type=schema_pb2.DataType.Int64)
    ids.scalars.long_data.data.extend(range(len(texts)))
    column = request.fields_data.add(field_name="document", type=schema_pb2.DataType.VarChar)
    column.scalars.string_data.data.extend(texts)
    return request.SerializeToString()
