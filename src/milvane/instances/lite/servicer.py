"""Milvus Lite's own servicer, and what clients of Milvus need beside it."""

# ruff: noqa: N802, SLF001 - RPCs have the protocol's names; indexes Milvus Lite keeps to itself

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from milvus_lite.adapter.grpc.errors import to_status_kwargs
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.adapter.grpc.translators.index import kv_pairs_to_index_params_dict
from milvus_lite.exceptions import IndexNotFoundError, MilvusLiteError
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from milvane.instances.lite.filters import fill_filter
from milvane.instances.lite.identity import keep_identity, restore_identity
from milvane.instances.lite.indexing import settle_search

if TYPE_CHECKING:
    from milvus_lite.engine.collection import Collection

_LOGICAL_BITS = 18
"""Bits of a Milvus timestamp below its milliseconds since 1970."""


class Servicer(MilvusServicer):
    """Answers the calls that Milvus Lite implements, and `AllocTimestamp`."""

    def __init__(self, db: Any) -> None:
        super().__init__(db)
        # Guards the last timestamp: calls run in several threads.
        self._clock = threading.Lock()
        self._last_timestamp = 0

    def AllocTimestamp(self, _request: Any, _context: Any) -> Any:
        """Give out a timestamp; pymilvus's asynchronous client wants one to wait for an index."""
        return milvus_pb2.AllocTimestampResponse(
            status=common_pb2.Status(code=0), timestamp=self._next_timestamp()
        )

    def _next_timestamp(self) -> int:
        with self._clock:
            now = (time.time_ns() // 1_000_000) << _LOGICAL_BITS
            self._last_timestamp = max(now, self._last_timestamp + 1)
            return self._last_timestamp

    def CreateCollection(self, request: Any, context: Any) -> Any:
        """Create a collection, and keep what Milvus Lite would forget of it."""
        with suppress(DecodeError):  # it is said by Milvus Lite
            keep_identity(request, self._next_timestamp())
        return super().CreateCollection(request, context)

    def DescribeCollection(self, request: Any, context: Any) -> Any:
        """Describe a collection with ids and descriptions, as Milvus does."""
        response = super().DescribeCollection(request, context)
        if not response.status.code:
            restore_identity(response)
        return response

    def Search(self, request: Any, context: Any) -> Any:
        """Search; `settle_search` says what of the parameters Milvus Lite gets."""
        _settle(request.search_params)
        request.dsl = fill_filter(request.dsl, request.expr_template_values)
        response = super().Search(request, context)
        if self._are_bm25_distances(request, context):
            # Milvus Lite shows them as it keeps them, the best lowest; Milvus the other way round.
            scores = [-score for score in response.results.scores]
            response.results.ClearField("scores")
            response.results.scores.extend(scores)
        return response

    def _are_bm25_distances(self, request: Any, context: Any) -> bool:
        # What functions rank anew have scores already.
        if request.HasField("function_score") or getattr(request, "function_chains", ()):
            return False
        try:
            collection = self._get_collection(request, context)
            parameters = {pair.key: pair.value for pair in request.search_params}
            field = collection._resolve_anns_field(parameters.get("anns_field") or None)
        except (MilvusLiteError, ValueError):
            return False  # the response says why
        return field in collection._bm25_analyzers

    def HybridSearch(self, request: Any, context: Any) -> Any:
        """Search several fields; see `Search`."""
        for part in request.requests:
            _settle(part.search_params)
            part.dsl = fill_filter(part.dsl, part.expr_template_values)
        return super().HybridSearch(request, context)

    def Query(self, request: Any, context: Any) -> Any:
        """Query; places in the filter are filled in."""
        request.expr = fill_filter(request.expr, request.expr_template_values)
        return super().Query(request, context)

    def Delete(self, request: Any, context: Any) -> Any:
        """Delete; places in the filter are filled in."""
        request.expr = fill_filter(request.expr, request.expr_template_values)
        return super().Delete(request, context)

    def CreateIndex(self, request: Any, context: Any) -> Any:
        """Create an index; to ask again for the one that is there succeeds, as in Milvus."""
        try:
            collection = self._get_collection(request, context)
            if _has_index(collection, request):
                return common_pb2.Status(code=0)
        except MilvusLiteError:
            pass  # it is said once more below, by Milvus Lite
        return super().CreateIndex(request, context)

    def DropIndex(self, request: Any, context: Any) -> Any:
        """Drop one index; Milvus Lite, given the name that it lists, would drop all of them."""
        try:
            indexed = set(self._get_collection(request, context)._index_specs)
        except MilvusLiteError as error:
            return common_pb2.Status(**to_status_kwargs(error))
        name = request.index_name
        if not request.field_name and name in indexed:
            request.field_name = name
        elif not request.field_name and name and len(indexed) > 1:
            missing = IndexNotFoundError(
                f"index not found[indexName={name}]; there are {', '.join(sorted(indexed))}"
            )
            return common_pb2.Status(**to_status_kwargs(missing))
        return super().DropIndex(request, context)


def _settle(pairs: Any) -> None:
    given = {pair.key: pair.value for pair in pairs}
    settled = settle_search(given)
    if settled != given:
        del pairs[:]
        pairs.extend(common_pb2.KeyValuePair(key=key, value=settled[key]) for key in settled)


def _has_index(collection: Collection, request: Any) -> bool:
    spec = collection._index_specs.get(request.field_name)
    if spec is None:
        return False
    asked = kv_pairs_to_index_params_dict(request.extra_params)
    return (
        str(asked.get("index_type", "")).upper() == spec.index_type
        and str(asked.get("metric_type") or "NONE").upper() == spec.metric_type
        and dict(asked.get("params") or {}) == spec.build_params
    )
