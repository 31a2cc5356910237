"""One REST request's way to the dispatcher that gRPC calls take as well."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from milvane.gateway.bindings import Description
from milvane.gateway.calls import DEFAULT_DATABASE, SERVICE, Metadata
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.errors import CollectionNotFound, reply_type
from milvane.gateway.rest_v2.failures import Refusal
from milvane.messages import common_pb2, milvus_pb2

_NOT_FOUND_CODES = frozenset({4, 100})


@dataclass(frozen=True, slots=True)
class Session:
    """Who asks, about which database, and how long the asker waits."""

    dispatcher: Dispatcher
    metadata: Metadata
    database: str
    time_left_s: Callable[[], float | None]
    int64_as_text: bool = False
    """Whether the client cannot read 64-bit integers, as JavaScript cannot."""

    async def call(self, rpc: str, request: Message) -> Any:
        """
        Make the call that a gRPC client would make.

        Args:
            rpc: Its short name.

            request: A message of its request type.

        Returns:
            The reply, a message of its reply type.

        Raises:
            Refusal: If the reply says that it failed.
            ServiceError: If the gateway refuses the call.
            UpstreamStatus: If the upstream ended it with a gRPC status.
        """
        serialized = await self.dispatcher.answer(
            SERVICE + rpc,
            request.SerializeToString(),
            metadata=self.metadata,
            time_left_s=self.time_left_s,
        )
        reply = reply_type(rpc).FromString(serialized)
        status = reply if isinstance(reply, common_pb2.Status) else reply.status
        code = status.code or status.error_code
        if code:
            raise Refusal(code, status.reason or f"the upstream refused with code {code}")
        return reply

    async def know(self, collection: str, *, anew: bool = False) -> Description:
        """
        Say what is known of a collection; the upstream is asked only if nothing is, or `anew`.

        Raises:
            Refusal: If there is no such collection, in Milvus's words.
        """
        try:
            return await self.dispatcher.describe(
                self.database,
                collection,
                metadata=self.metadata,
                time_left_s=self.time_left_s,
                anew=anew,
            )
        except CollectionNotFound as error:
            raise self._cannot_find(collection) from error

    async def describe(self, collection: str) -> Any:
        """
        Ask for a collection's description, as clients see it.

        Raises:
            Refusal: If there is no such collection, in Milvus's words.
        """
        request = milvus_pb2.DescribeCollectionRequest(
            db_name=self.database, collection_name=collection
        )
        try:
            return await self.call("DescribeCollection", request)
        except Refusal as refusal:
            if refusal.code in _NOT_FOUND_CODES:
                raise self._cannot_find(collection) from refusal
            raise

    def _cannot_find(self, collection: str) -> Refusal:
        where = f"[database={self.database}][collection={collection}]"
        return Refusal(100, f"can't find collection{where}")


def choose_database(named: str, headers: Mapping[str, str]) -> str:
    """Say which database a request is about: its body's, its header's, or the default one."""
    return named or headers.get("db-name", "") or DEFAULT_DATABASE


def read_metadata(headers: Mapping[str, str], database: str) -> Metadata:
    """
    Write an HTTP request's credentials and database as a gRPC client sends them.

    Args:
        headers: Names in lower case.

        database: What the request is about.
    """
    metadata: list[tuple[str, str | bytes]] = [("dbname", database)]
    scheme, _, given = headers.get("authorization", "").partition(" ")
    given = given.strip()
    if scheme.lower() == "bearer" and given:
        metadata.append(("authorization", base64.b64encode(given.encode()).decode()))
    elif scheme.lower() == "basic" and given:
        metadata.append(("authorization", given))  # it is the base64 of user:password already
    return tuple(metadata)


def cost_of(reply: Any) -> int:
    """Read what a call cost by the upstream's own count."""
    status = reply if isinstance(reply, common_pb2.Status) else reply.status
    counted = status.extra_info.get("report_value", "0")
    return int(counted) if counted.isdecimal() else 0
