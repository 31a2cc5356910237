"""Search and HybridSearch: query texts in, query vectors on to the upstream."""

from __future__ import annotations

from milvane.gateway.bindings import Binding
from milvane.gateway.calls import Call
from milvane.gateway.rpcs.services import Services, compute, prepare_queries
from milvane.gateway.translate.queries import read_text_queries
from milvane.gateway.translate.vectors import vector_placeholder
from milvane.messages import milvus_pb2


async def search(call: Call, services: Services) -> bytes:
    """Embed the query texts of a search."""
    request = call.parse(milvus_pb2.SearchRequest)
    binding = await _binding(call, services, request)
    if binding is None or not await _replace_texts(call, services, binding, [request]):
        return await call.forward()
    return await call.forward(request.SerializeToString())


async def hybrid_search(call: Call, services: Services) -> bytes:
    """Embed the query texts of each part of a hybrid search that is for an embedding function."""
    request = call.parse(milvus_pb2.HybridSearchRequest)
    binding = await _binding(call, services, request)
    if binding is None or not await _replace_texts(call, services, binding, list(request.requests)):
        return await call.forward()
    return await call.forward(request.SerializeToString())


async def _binding(
    call: Call,
    services: Services,
    request: milvus_pb2.SearchRequest | milvus_pb2.HybridSearchRequest,
) -> Binding | None:
    return await services.bindings.find(
        call, database=call.database(request.db_name), collection=request.collection_name
    )


async def _replace_texts(
    call: Call, services: Services, binding: Binding, parts: list[milvus_pb2.SearchRequest]
) -> bool:
    """Replace texts by vectors in place, once all are known to be good; say if there were any."""
    found = [
        (part, queries)
        for part in parts
        if (queries := read_text_queries(part, binding.schema, binding.functions)) is not None
    ]
    prepared = await prepare_queries(
        services, [queries for _, queries in found], time_left_s=call.time_left_s()
    )
    embedded_texts = await compute(services, prepared, time_left_s=call.time_left_s())
    for (part, _), embedded in zip(found, embedded_texts, strict=True):
        part.placeholder_group = vector_placeholder(embedded.vectors)
    return bool(found)
