"""REST v2 over an upstream that remembers what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.gateway.bindings import Bindings
from milvane.gateway.calls import Metadata
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.errors import reply_type
from milvane.gateway.rest_v2.app import RestApp
from milvane.gateway.rpcs.services import Services
from milvane.gateway.settings import Compat
from milvane.instances.upstream import UpstreamStatus
from milvane.serving.access import AccessSettings, Authenticator
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

MAX_BODY_BYTES = 100_000


@dataclass
class Remembering:
    """An upstream that answers every call, and keeps what it was sent."""

    calls: list[tuple[str, bytes]] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    replies: dict[str, bytes] = field(default_factory=dict)
    refusal: UpstreamStatus | None = None
    holding: bool = False
    held: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(
        self, method: str, request: bytes, *, metadata: Metadata, timeout_s: float | None
    ) -> bytes:
        """Answer with an empty reply, but describe a collection when asked for one."""
        name = method.rpartition("/")[2]
        self.calls.append((name, request))
        self.metadata.append(dict(metadata))
        self.timeouts.append(timeout_s)
        if self.refusal is not None:
            raise self.refusal
        if self.holding:
            self.held.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if name in self.replies:
            return self.replies[name]
        if name == "DescribeCollection":
            return articles().SerializeToString()
        if name == "GetLoadState":
            return milvus_pb2.GetLoadStateResponse(
                state=common_pb2.LoadState.LoadStateLoaded
            ).SerializeToString()
        return reply_type(name)().SerializeToString()

    def open_stream(self, *_: object, **__: object) -> AsyncIterator[bytes]:
        """Have no streams."""
        raise NotImplementedError

    @property
    def names(self) -> list[str]:
        """The calls' names."""
        return [name for name, _ in self.calls]


def articles() -> milvus_pb2.DescribeCollectionResponse:
    """Describe a collection of two fields."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="id", data_type=schema_pb2.DataType.Int64, is_primary_key=True)
    vector = schema.fields.add(name="dense", data_type=schema_pb2.DataType.FloatVector)
    vector.type_params.add(key="dim", value="2")
    return milvus_pb2.DescribeCollectionResponse(schema=schema, collection_name="articles")


def an_app(upstream: Remembering, access: AccessSettings, compat: Compat = "2.6") -> RestApp:
    """Build the application."""
    services = Services(
        embedding=EmbeddingService({ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings()),
        bindings=Bindings(max_cached=10),
        next_revision=iter(range(1, 1000)).__next__,
    )
    dispatcher = Dispatcher(upstream, services, Authenticator(access))
    return RestApp(dispatcher, max_body_bytes=MAX_BODY_BYTES, compat=compat)
