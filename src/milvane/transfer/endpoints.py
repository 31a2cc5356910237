"""A Milvus endpoint as a place to copy from and to, over the protocol of unmodified clients."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from milvane.domain.errors import Conflict, NotFound, UpstreamRejected, UpstreamUnavailable
from milvane.gateway.translate.functions import PROPERTY_KEY
from milvane.instances.access import SERVICE
from milvane.instances.lite.journal import CollectionKey
from milvane.messages import common_pb2, milvus_pb2, schema_pb2
from milvane.transfer.collections import (
    Collection,
    Index,
    buildable_params,
    closings_of,
    creation_of,
    plain_params,
    read_description,
)
from milvane.transfer.columns import Digest, Key, Page, digest_of, page_of

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)
_PAGE_BYTES = 4 << 20
_FIRST_PAGE_ROWS = 64
"""So few that even the longest texts that Milvus takes fit into a message."""
_MAX_PAGE_ROWS = 2_000
_GROWTH = 4
_RATE_LIMIT = 8
_NOT_FOUND = frozenset({4, 100})
_CALL_TIMEOUT_S = 120.0
_PATIENCE_S = 60.0
_LONGEST_PAUSE_S = 5.0
_LOAD_POLL_S = 0.2
_PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
_NO_SUCH_COLLECTION = "milvane_asks_who_you_are"


class MilvusPlace:
    """One endpoint, from entering the context to leaving it."""

    page_bytes = _PAGE_BYTES
    """Small enough for the smallest limit that servers have by default."""

    def __init__(
        self,
        name: str,
        target: str,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """
        Describe a connection; it is made with the first call.

        Args:
            name: How the place is named in messages.

            target: Where gRPC reaches it.

            token: `user:password` or key that it is shown, if it asks for one.

            credentials: How the channel is secured; none for plain text.
        """
        self.name = name
        self._channel = (
            grpc.insecure_channel(target, options=_OPTIONS)
            if credentials is None
            else grpc.secure_channel(target, credentials, options=_OPTIONS)
        )
        self._methods: dict[str, Any] = {}
        encoded = None if token is None else base64.b64encode(token.encode()).decode()
        self._metadata = () if encoded is None else (("authorization", encoded),)
        self._is_milvane: bool | None = None
        self._loaded_here: set[CollectionKey] = set()

    def close(self) -> None:
        """Release what was loaded for reading alone, and close the connection."""
        for key in self._loaded_here:
            self._release(key)
        self._channel.close()

    @property
    def is_milvane(self) -> bool:
        """Say whether Milvane answers here: it alone keeps clients away from its own property."""
        if self._is_milvane is None:
            request = milvus_pb2.AlterCollectionRequest(collection_name=_NO_SUCH_COLLECTION)
            request.properties.add(key=PROPERTY_KEY, value="")
            status = self._call("AlterCollection", request, "")
            self._is_milvane = "is reserved" in status.reason
        return self._is_milvane

    def keys(self) -> list[CollectionKey]:
        """List the collections of all databases."""
        response = self._try("ListDatabases", milvus_pb2.ListDatabasesRequest(), "")
        databases = ["default"] if response is None else response.db_names
        found = []
        for database in databases:
            shown = self._ask("ShowCollections", milvus_pb2.ShowCollectionsRequest(), database)
            found += [CollectionKey(database, name) for name in sorted(shown.collection_names)]
        return found

    def describe(self, key: CollectionKey) -> Collection:
        """
        Describe a collection.

        Raises:
            NotFound: If there is none.
        """
        description = self._ask(
            "DescribeCollection",
            milvus_pb2.DescribeCollectionRequest(collection_name=key.name),
            key.database,
        )
        partitions = self._ask(
            "ShowPartitions",
            milvus_pb2.ShowPartitionsRequest(collection_name=key.name),
            key.database,
        )
        aliases = self._try(
            "ListAliases", milvus_pb2.ListAliasesRequest(collection_name=key.name), key.database
        )
        return read_description(
            key,
            description,
            is_milvane=self.is_milvane,
            partitions=tuple(partitions.partition_names),
            indexes=self._indexes(key),
            aliases=tuple(sorted(description.aliases if aliases is None else aliases.aliases)),
            is_loaded=self._is_loaded(key),
        )

    def count(self, collection: Collection) -> int:
        """Count the rows of a collection."""
        self._load(collection.key)
        request = milvus_pb2.QueryRequest(
            collection_name=collection.key.name, output_fields=["count(*)"]
        )
        response = self._ask("Query", request, collection.key.database)
        return int(response.fields_data[0].scalars.long_data.data[0])

    def pages(
        self, collection: Collection, partition: str, *, after: Key | None, max_bytes: int
    ) -> Iterator[Page]:
        """Read a partition's rows in the order of their keys; see `Source`."""
        self._load(collection.key)
        limit = min(_FIRST_PAGE_ROWS, collection.rows_within(max_bytes))
        while True:
            try:
                page = self._page(collection, partition, after, limit)
            except _TooLarge:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)
                continue
            if page is None:
                return
            limit = next_limit(limit, page, max_bytes)
            yield page
            after = page.last_key

    def refuse_existing(self, key: CollectionKey) -> None:
        """See that a name is free; see `Target`."""
        self._make_database(key.database)
        if self._exists(key):
            raise Conflict(
                f"{self.name} has a collection {key} already: drop or rename it, or choose others "
                "with --collections"
            )

    def prepare(self, collection: Collection) -> None:
        """Make a collection and its partitions; see `Target`."""
        key = collection.key
        self._make_database(key.database)
        if not self._exists(key):
            request = creation_of(collection, is_milvane=self.is_milvane, revision=next_revision())
            self._ask("CreateCollection", request, key.database)
        there = self._ask(
            "ShowPartitions",
            milvus_pb2.ShowPartitionsRequest(collection_name=key.name),
            key.database,
        ).partition_names
        for name in collection.partitions:
            if name not in there:
                create = milvus_pb2.CreatePartitionRequest(
                    collection_name=key.name, partition_name=name
                )
                self._ask("CreatePartition", create, key.database)

    def rewind(self, collection: Collection, partition: str, *, after: Key | None) -> None:
        """Remove rows behind a key, where writing them again would double them; see `Target`."""
        if not collection.makes_keys:
            return  # an upsert replaces
        is_number = collection.primary.data_type == schema_pb2.DataType.Int64
        lowest: Key = -(1 << 62) if is_number else ""
        comparison = f"> {_literal(after)}" if after is not None else f">= {_literal(lowest)}"
        request = milvus_pb2.DeleteRequest(
            collection_name=collection.key.name,
            partition_name=_named(collection, partition),
            expr=f"{collection.primary.name} {comparison}",
        )
        self._load(collection.key)
        self._ask("Delete", request, collection.key.database)

    def write(self, collection: Collection, partition: str, page: Page, *, number: int) -> None:  # noqa: ARG002 - of the port
        """Write rows with their vectors; see `Target`."""
        kind = milvus_pb2.InsertRequest if collection.makes_keys else milvus_pb2.UpsertRequest
        request = kind(
            collection_name=collection.key.name,
            partition_name=_named(collection, partition),
            fields_data=page.columns,
            num_rows=page.rows,
        )
        rpc = "Insert" if collection.makes_keys else "Upsert"
        self._ask(rpc, request, collection.key.database)

    def finish(self, collection: Collection) -> list[str]:
        """Make indexes and aliases, load, and close what was open for copying; see `Target`."""
        key = collection.key
        self._try("Flush", milvus_pb2.FlushRequest(collection_names=[key.name]), key.database)
        notes: list[str] = []
        there = {index.field for index in self._indexes(key)}
        for index in collection.indexes:
            if index.field not in there:
                notes += self._make_index(key, index)
        for closing in closings_of(collection):
            self._close(key, closing)
        self._make_aliases(collection)
        if collection.is_loaded:
            self._loaded_here.discard(key)
            self._load(key, for_reading=False)
        else:
            self._release(key)  # a new collection is loaded in some servers
        return notes

    def digest(self, collection: Collection) -> Digest | None:
        """Read all rows back; see `Target`."""
        try:
            self._load(collection.key)
        except UpstreamRejected:
            return None  # without an index on each vector, Milvus does not read
        total = Digest()
        for partition in collection.partitions:
            for page in self.pages(collection, partition, after=None, max_bytes=_PAGE_BYTES):
                total += digest_of(page)
        return total

    def _page(
        self, collection: Collection, partition: str, after: Key | None, limit: int
    ) -> Page | None:
        primary = collection.primary.name
        name = _named(collection, partition)
        request = milvus_pb2.QueryRequest(
            collection_name=collection.key.name,
            expr="" if after is None else f"{primary} > {_literal(after)}",
            output_fields=collection.readable_fields,
            partition_names=[name] if name else [],
            consistency_level=common_pb2.ConsistencyLevel.Strong,
        )
        for option, value in (
            ("limit", str(limit)),
            ("iterator", "True"),
            ("reduce_stop_for_best", "True"),
        ):
            request.query_params.add(key=option, value=value)
        response = self._ask("Query", request, collection.key.database)
        return page_of(response.fields_data, primary)

    def _make_database(self, database: str) -> None:
        response = self._try("ListDatabases", milvus_pb2.ListDatabasesRequest(), "")
        known = ["default"] if response is None else response.db_names
        if database not in known:
            request = milvus_pb2.CreateDatabaseRequest(db_name=database)
            self._ask("CreateDatabase", request, "")

    def _make_index(self, key: CollectionKey, index: Index) -> list[str]:
        try:
            request = _index_request(key, index, buildable_params(index))
            self._ask("CreateIndex", request, key.database)
        except UpstreamRejected as error:
            request = _index_request(key, index, plain_params(index))
            self._ask("CreateIndex", request, key.database)
            return [f"{key}: the index of {index.field} became AUTOINDEX ({error.message})"]
        return []

    def _close(self, key: CollectionKey, closing: milvus_pb2.AlterCollectionRequest) -> None:
        try:
            self._ask("AlterCollection", closing, key.database)
        except UpstreamRejected:
            if not closing.delete_keys:
                raise
            # Milvus before 2.5 deletes no properties; "false" means the same.
            setting = milvus_pb2.AlterCollectionRequest(collection_name=key.name)
            for name in closing.delete_keys:
                setting.properties.add(key=name, value="false")
            self._ask("AlterCollection", setting, key.database)

    def _make_aliases(self, collection: Collection) -> None:
        key = collection.key
        for alias in collection.aliases:
            known = self._try(
                "DescribeAlias", milvus_pb2.DescribeAliasRequest(alias=alias), key.database
            )
            if known is not None and known.collection and known.collection != key.name:
                raise Conflict(
                    f"the alias {alias} of {key} means {known.collection} at {self.name}: drop it "
                    "there, and go on with --resume"
                )
            if known is None or not known.collection:
                request = milvus_pb2.CreateAliasRequest(collection_name=key.name, alias=alias)
                self._ask("CreateAlias", request, key.database)

    def _exists(self, key: CollectionKey) -> bool:
        try:
            request = milvus_pb2.DescribeCollectionRequest(collection_name=key.name)
            self._ask("DescribeCollection", request, key.database)
        except NotFound:
            return False
        return True

    def _indexes(self, key: CollectionKey) -> tuple[Index, ...]:
        request = milvus_pb2.DescribeIndexRequest(collection_name=key.name)
        response = self._try("DescribeIndex", request, key.database)
        if response is None:
            return ()  # Milvus answers with an error where there is none
        return tuple(
            Index(
                each.index_name,
                each.field_name,
                tuple((pair.key, pair.value) for pair in each.params),
            )
            for each in response.index_descriptions
        )

    def _is_loaded(self, key: CollectionKey) -> bool:
        request = milvus_pb2.GetLoadStateRequest(collection_name=key.name)
        response = self._ask("GetLoadState", request, key.database)
        return bool(response.state == common_pb2.LoadState.LoadStateLoaded)

    def _load(self, key: CollectionKey, *, for_reading: bool = True) -> None:
        if self._is_loaded(key):
            return
        request = milvus_pb2.LoadCollectionRequest(collection_name=key.name)
        self._ask("LoadCollection", request, key.database)
        if for_reading:
            self._loaded_here.add(key)
        deadline_s = time.monotonic() + _CALL_TIMEOUT_S
        while not self._is_loaded(key):
            if time.monotonic() > deadline_s:
                raise UpstreamUnavailable(f"{self.name} does not finish loading {key}")
            time.sleep(_LOAD_POLL_S)

    def _release(self, key: CollectionKey) -> None:
        request = milvus_pb2.ReleaseCollectionRequest(collection_name=key.name)
        self._try("ReleaseCollection", request, key.database)

    def _try(self, rpc: str, request: Any, database: str) -> Any:
        """Make a call whose failure only means that there is nothing of the kind."""
        try:
            return self._ask(rpc, request, database)
        except (UpstreamRejected, NotFound):
            return None

    def _ask(self, rpc: str, request: Any, database: str) -> Any:
        """
        Make a call, and raise what its status says.

        Raises:
            NotFound: If there is no such collection.

            UpstreamRejected: With the endpoint's own words, if it refuses.

            UpstreamUnavailable: If it does not answer for long.
        """
        response = self._call(rpc, request, database)
        status = getattr(response, "status", response)
        code = status.code or status.error_code
        if code in _NOT_FOUND:
            raise NotFound(f"{self.name}: {status.reason}")
        if code:
            raise UpstreamRejected(f"{self.name} refused {rpc}: {status.reason or code}")
        return response

    def _call(self, rpc: str, request: Any, database: str) -> Any:
        metadata = (*self._metadata, *((("dbname", database),) if database else ()))
        deadline_s = time.monotonic() + _PATIENCE_S
        pause_s = 0.1
        while True:
            failure = None
            try:
                response = self._method(rpc)(request, metadata=metadata, timeout=_CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                failure = self._failure(rpc, error)
                if not isinstance(failure, UpstreamUnavailable) or rpc == "Insert":
                    raise failure from error
            else:
                if _code(response) != _RATE_LIMIT:
                    return response
                failure = UpstreamUnavailable(f"{self.name} is overloaded")
            if time.monotonic() > deadline_s:
                raise failure
            time.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _method(self, rpc: str) -> Any:
        if rpc not in self._methods:
            method = _SERVICE.methods_by_name[rpc]
            self._methods[rpc] = self._channel.unary_unary(
                f"/{SERVICE}/{rpc}",
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
        return self._methods[rpc]

    def _failure(self, rpc: str, error: Any) -> Exception:
        if error.code() in _PASSING:
            return UpstreamUnavailable(f"{self.name} does not answer: {error.details()}")
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _TooLarge(f"{self.name} cannot answer {rpc}: {error.details()}")
        words = error.details() or error.code().name
        return UpstreamRejected(f"{self.name} refused {rpc}: {words}")


class _TooLarge(UpstreamRejected):
    """A message is larger than the endpoint may send."""


def next_limit(limit: int, page: Page, max_bytes: int) -> int:
    """
    Say how many rows the next page may have: texts may be as long as vectors, or longer.

    Args:
        limit: Rows that the last page might have had.

        page: That page.

        max_bytes: About how large a page may be.
    """
    row_bytes = sum(column.ByteSize() for column in page.columns) / page.rows
    fitting = int(max_bytes / max(row_bytes, 1))
    return max(1, min(fitting, _GROWTH * limit, _MAX_PAGE_ROWS))


def next_revision() -> int:
    """Make a schema revision from the time of day, in the form of Milvus's hybrid timestamps."""
    return (time.time_ns() // 1_000_000) << 18


def _code(response: Any) -> int:
    status = getattr(response, "status", response)
    return int(getattr(status, "code", 0))


def _literal(key: Key) -> str:
    return json.dumps(key, ensure_ascii=False)


def _named(collection: Collection, partition: str) -> str:
    # With a partition key the endpoint finds the partition of each row itself.
    return "" if collection.partition_buckets else partition


def _index_request(
    key: CollectionKey, index: Index, params: list[tuple[str, str]]
) -> milvus_pb2.CreateIndexRequest:
    request = milvus_pb2.CreateIndexRequest(
        collection_name=key.name, field_name=index.field, index_name=index.name
    )
    for name, value in params:
        request.extra_params.add(key=name, value=value)
    return request
