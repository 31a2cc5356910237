"""Paths of rows: insert, upsert, search, query, get and delete."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any, TypeVar

from milvane.domain.errors import Conflict, InvalidInput
from milvane.gateway.bindings import Description
from milvane.gateway.rest_v2 import wire
from milvane.gateway.rest_v2.columns import to_columns
from milvane.gateway.rest_v2.failures import Refusal
from milvane.gateway.rest_v2.path import Answer, Path
from milvane.gateway.rest_v2.rows import to_hits, to_ids, to_rows
from milvane.gateway.rest_v2.searching import (
    to_deletion,
    to_get,
    to_hybrid_search,
    to_query,
    to_search,
)
from milvane.gateway.rest_v2.session import Session, cost_of
from milvane.messages import milvus_pb2

_ROWS_ON_THE_LOOP = 64
"""More rows than this are translated in a thread: other calls go on meanwhile."""

Result = TypeVar("Result")


async def _with_schema(
    session: Session, collection: str, work: Callable[[Description], Awaitable[Answer]]
) -> Answer:
    """
    Do what needs a collection's schema with the one that is known.

    Somebody else may have changed the collection, past this gateway: what is refused is done once
    more if the upstream describes another schema now. A refused call has written nothing.
    """
    known = await session.know(collection)
    try:
        return await work(known)
    except (Refusal, Conflict, InvalidInput):
        current = await session.know(collection, anew=True)
        if (current.revision, current.schema) == (known.revision, known.schema):
            raise
        return await work(current)


async def _insert(session: Session, body: wire.Rows) -> Answer:
    async def work(known: Description) -> Answer:
        request = milvus_pb2.InsertRequest(
            db_name=session.database,
            collection_name=body.collection_name,
            partition_name=body.partition_name,
            num_rows=len(body.rows),
            schema_timestamp=known.revision,
        )
        columns = await _translate(
            len(body.rows), lambda: to_columns(body.rows, known.schema, partial=False)
        )
        request.fields_data.extend(columns)
        reply = await session.call("Insert", request)
        return _written(session, reply, "insert", reply.insert_cnt)

    return await _with_schema(session, body.collection_name, work)


async def _upsert(session: Session, body: wire.Upserted) -> Answer:
    async def work(known: Description) -> Answer:
        request = milvus_pb2.UpsertRequest(
            db_name=session.database,
            collection_name=body.collection_name,
            partition_name=body.partition_name,
            num_rows=len(body.rows),
            partial_update=body.partial_update,
            schema_timestamp=known.revision,
        )
        columns = await _translate(
            len(body.rows),
            lambda: to_columns(body.rows, known.schema, partial=body.partial_update),
        )
        request.fields_data.extend(columns)
        reply = await session.call("Upsert", request)
        return _written(session, reply, "upsert", reply.upsert_cnt)

    return await _with_schema(session, body.collection_name, work)


async def _translate(rows: int, translate: Callable[[], Result]) -> Result:
    if rows <= _ROWS_ON_THE_LOOP:
        return translate()
    return await asyncio.to_thread(translate)


def _written(session: Session, reply: Any, verb: str, count: int) -> Answer:
    ids = to_ids(reply.IDs, int64_as_text=session.int64_as_text)
    return {"data": {f"{verb}Count": count, f"{verb}Ids": ids}, "cost": cost_of(reply)}


async def _search(session: Session, body: wire.Search) -> Answer:
    async def work(known: Description) -> Answer:
        reply = await session.call("Search", to_search(body, known.schema, session.database))
        return await _hits(session, reply, body.output_fields)

    return await _with_schema(session, body.collection_name, work)


async def _hybrid_search(session: Session, body: wire.HybridSearch) -> Answer:
    async def work(known: Description) -> Answer:
        request = to_hybrid_search(body, known.schema, session.database)
        reply = await session.call("HybridSearch", request)
        return await _hits(session, reply, body.output_fields)

    return await _with_schema(session, body.collection_name, work)


async def _hits(session: Session, reply: Any, asked_for: list[str]) -> Answer:
    found = reply.results
    hits = await _translate(
        len(found.scores),
        lambda: to_hits(found, asked_for=asked_for, int64_as_text=session.int64_as_text),
    )
    answer: Answer = {"data": hits, "cost": cost_of(reply), "topks": list(found.topks)}
    if found.recalls:
        answer["recalls"] = list(found.recalls)
    return answer


async def _query(session: Session, body: wire.Query) -> Answer:
    return await _rows(session, to_query(body, session.database))


async def _get(session: Session, body: wire.Get) -> Answer:
    async def work(known: Description) -> Answer:
        return await _rows(session, to_get(body, known.schema, session.database))

    return await _with_schema(session, body.collection_name, work)


async def _rows(session: Session, request: milvus_pb2.QueryRequest) -> Answer:
    reply = await session.call("Query", request)
    rows = to_rows(
        reply.fields_data,
        asked_for={*request.output_fields, *reply.output_fields},
        int64_as_text=session.int64_as_text,
    )
    return {"data": rows, "cost": cost_of(reply)}


async def _delete(session: Session, body: wire.Deletion) -> Answer:
    async def work(known: Description) -> Answer:
        request = to_deletion(body, known.schema, session.database)
        reply = await session.call("Delete", request)
        return {"data": {"deleteCount": reply.delete_cnt}, "cost": cost_of(reply)}

    return await _with_schema(session, body.collection_name, work)


PATHS = MappingProxyType(
    {
        "entities/insert": Path(wire.Rows, ("DescribeCollection", "Insert"), _insert),
        "entities/upsert": Path(wire.Upserted, ("DescribeCollection", "Upsert"), _upsert),
        "entities/search": Path(wire.Search, ("DescribeCollection", "Search"), _search),
        "entities/hybrid_search": Path(
            wire.HybridSearch, ("DescribeCollection", "HybridSearch"), _hybrid_search
        ),
        "entities/advanced_search": Path(
            wire.HybridSearch, ("DescribeCollection", "HybridSearch"), _hybrid_search
        ),
        "entities/query": Path(wire.Query, ("Query",), _query),
        "entities/get": Path(wire.Get, ("DescribeCollection", "Query"), _get),
        "entities/delete": Path(wire.Deletion, ("DescribeCollection", "Delete"), _delete),
    }
)
