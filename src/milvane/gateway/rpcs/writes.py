"""Insert and Upsert: raw texts in, rows with vectors on to the upstream."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from milvane.domain.errors import ServiceError
from milvane.gateway.bindings import Binding
from milvane.gateway.calls import Call
from milvane.gateway.errors import SchemaMismatch
from milvane.gateway.rpcs.services import Services, compute, prepare_rows
from milvane.gateway.translate.functions import EmbeddingFunction, FunctionTexts
from milvane.gateway.translate.rows import (
    WriteRequest,
    append_columns,
    plan_embedding,
)
from milvane.gateway.translate.skipping import leave_out, tell_skipped
from milvane.gateway.translate.vectors import vector_column
from milvane.messages import milvus_pb2, schema_pb2

logger = logging.getLogger(__name__)


async def insert(call: Call, services: Services) -> bytes:
    """Embed the texts of new rows."""
    return await _write(call, services, call.parse(milvus_pb2.InsertRequest))


async def upsert(call: Call, services: Services) -> bytes:
    """Embed the texts of changed rows; a partial update without the text keeps the old vector."""
    return await _write(call, services, call.parse(milvus_pb2.UpsertRequest))


async def _write(call: Call, services: Services, request: WriteRequest) -> bytes:
    database, collection = call.database(request.db_name), request.collection_name
    binding = await services.bindings.find(call, database=database, collection=collection)
    if binding is None:
        return await call.forward()
    if request.schema_timestamp not in (0, binding.revision):
        raise SchemaMismatch(collection)
    texts = plan_embedding(
        request, binding.schema, binding.functions, allow_outputs=binding.allow_outputs
    )
    columns, skipped = await _embed(call, services, binding, texts)
    # Embedding takes time, in which the collection may have been dropped and made anew.
    current = await services.bindings.find(call, database=database, collection=collection)
    if current is None or current.revision != binding.revision:
        raise SchemaMismatch(collection)
    if skipped:
        return await _write_rest(call, request, columns, skipped)
    return await call.forward(append_columns(call.request, columns))


async def _write_rest(
    call: Call,
    request: WriteRequest,
    columns: Sequence[schema_pb2.FieldData],
    skipped: Collection[int],
) -> bytes:
    """Write without some rows, and say so in the reply."""
    num_rows = request.num_rows
    request.fields_data.extend(columns)
    leave_out(request, skipped)
    reply = milvus_pb2.MutationResult(acknowledged=True).SerializeToString()
    if request.num_rows:
        reply = await call.forward(request.SerializeToString())
    return tell_skipped(reply, num_rows, skipped)


async def _embed(
    call: Call, services: Services, binding: Binding, texts: list[FunctionTexts]
) -> tuple[list[schema_pb2.FieldData], set[int]]:
    """Make the vector columns, and say which rows have to be left out."""
    # All functions' texts are checked before any is embedded: a refusal costs nothing.
    prepared = await prepare_rows(services, texts, time_left_s=call.time_left_s())
    columns: list[schema_pb2.FieldData] = []
    skipped: set[int] = set()
    embedded_texts = await compute(
        services, prepared, time_left_s=call.time_left_s(), tell_all=True
    )
    for column, embedded in zip(texts, embedded_texts, strict=True):
        if embedded.cut_inputs:
            _tell_of_cuts(binding, column.function, embedded.cut_inputs)
        if embedded.failures:
            _tell_of_skips(binding, column.function, embedded.failures)
        skipped |= embedded.failures.keys()
        columns.append(vector_column(binding.field(column.function.output_field), embedded.vectors))
    return columns, skipped


def _tell_of_skips(
    binding: Binding, function: EmbeddingFunction, failures: Mapping[int, ServiceError]
) -> None:
    """The reply has room for the rows, and none for the reasons."""
    for row in sorted(failures)[:20]:
        logger.warning(
            "left out: collection %s, function %s, field %s, row %d: %s",
            binding.schema.name,
            function.name,
            function.input_field,
            row,
            failures[row].message,
        )
    if len(failures) > 20:
        logger.warning("left out: %d more rows of the same write", len(failures) - 20)


def _tell_of_cuts(binding: Binding, function: EmbeddingFunction, rows: Sequence[int]) -> None:
    """Milvus has no field to report a cut in: it goes to the log, never unsaid."""
    logger.warning(
        "cut to the model's token limit: collection %s, function %s, field %s, rows %s",
        binding.schema.name,
        function.name,
        function.input_field,
        rows[:20],
    )
