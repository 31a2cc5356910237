"""
What the gateway knows of each collection: its schema and functions, read from the upstream.

A cache and no more: entries are dropped whenever a call that may change a schema passes through.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from milvane.domain.errors import UpstreamRejected
from milvane.gateway.calls import Call
from milvane.gateway.errors import CollectionNotFound
from milvane.gateway.translate.functions import EmbeddingFunction, FunctionRecord
from milvane.gateway.translate.rows import ALLOW_OUTPUTS_KEY
from milvane.gateway.translate.schemas import restore_functions
from milvane.messages import common_pb2, milvus_pb2, schema_pb2

_NOT_FOUND_CODES = frozenset({4, 100})


@dataclass(frozen=True, slots=True)
class Binding:
    """A collection with embedding functions, as clients see it."""

    schema: schema_pb2.CollectionSchema
    functions: tuple[EmbeddingFunction, ...]
    revision: int
    allow_outputs: bool

    def field(self, name: str) -> schema_pb2.FieldSchema:
        """Find a field of the schema by its name."""
        return next(field for field in self.schema.fields if field.name == name)


@dataclass(frozen=True, slots=True)
class Description:
    """What the upstream says of a collection, with its functions put back."""

    schema: schema_pb2.CollectionSchema
    record: FunctionRecord | None
    revision: int
    allow_outputs: bool

    def to_binding(self) -> Binding | None:
        """Read the binding; none if the collection has no embedding function."""
        if self.record is None:
            return None
        return Binding(self.schema, self.record.functions, self.revision, self.allow_outputs)


@dataclass(frozen=True, slots=True)
class _Known:
    description: Description
    binding: Binding | None


class Bindings:
    """What is known of the collections of one instance, most recently used ones in memory."""

    def __init__(self, *, max_cached: int) -> None:
        self._max_cached = max_cached
        self._cached: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._epoch = 0

    async def find(self, call: Call, *, database: str, collection: str) -> Binding | None:
        """
        Find the binding of a collection.

        Args:
            call: Whose credentials and deadline are used to ask the upstream.

            database: Where the collection is.

            collection: Its name, or an alias of it.

        Returns:
            None if the collection has no embedding function.

        Raises:
            CollectionNotFound: If the upstream has no such collection.
            UpstreamRejected: If the upstream will not describe it.
        """
        return (await self._know(call, database, collection)).binding

    async def describe(
        self, call: Call, *, database: str, collection: str, anew: bool = False
    ) -> Description:
        """
        Find what the upstream says of a collection; `anew` asks it although an answer is known.

        Raises as `find` does.
        """
        if anew:
            self._cached.pop((database, collection), None)
        return (await self._know(call, database, collection)).description

    async def _know(self, call: Call, database: str, collection: str) -> _Known:
        key = (database, collection)
        if key in self._cached:
            self._cached.move_to_end(key)
            return self._cached[key]
        epoch = self._epoch
        found = await describe(call, database=database, collection=collection)
        known = _Known(found, found.to_binding())
        if epoch == self._epoch:
            self._cached[key] = known
            while len(self._cached) > self._max_cached:
                self._cached.popitem(last=False)
        return known

    def forget(self) -> None:
        """Drop all that is known: something may have changed."""
        self._epoch += 1
        self._cached.clear()


async def describe(call: Call, *, database: str, collection: str) -> Description:
    """
    Ask the upstream for a collection, in the name of a client.

    Raises:
        CollectionNotFound: If the upstream has no such collection.
        UpstreamRejected: If the upstream will not describe it.
    """
    request = milvus_pb2.DescribeCollectionRequest(db_name=database, collection_name=collection)
    reply = await call.forward(request.SerializeToString(), method="DescribeCollection")
    response = milvus_pb2.DescribeCollectionResponse.FromString(reply)
    _check(response.status, database=database, collection=collection)
    record = restore_functions(response)
    revision = int(response.update_timestamp)
    return Description(response.schema, record, revision, _allows_outputs(response))


def _check(status: common_pb2.Status, *, database: str, collection: str) -> None:
    code = status.code or status.error_code
    if code in _NOT_FOUND_CODES:
        raise CollectionNotFound(database=database, collection=collection)
    if code:
        raise UpstreamRejected(status.reason or f"the upstream refused with code {code}")


def _allows_outputs(response: milvus_pb2.DescribeCollectionResponse) -> bool:
    return any(
        pair.key == ALLOW_OUTPUTS_KEY and pair.value.lower() == "true"
        for pair in response.properties
    )
