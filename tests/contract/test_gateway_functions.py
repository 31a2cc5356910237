"""Embedding functions between a raw client and an upstream that keeps every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from gateway_bench import Bench, a_bench, a_write, add_function, create, described, with_function
from milvane.domain.errors import ProviderRefused, ProviderUnavailable
from milvane.domain.models import Lane, Purpose
from milvane.domain.providers import ProviderFunction, Spending, VectorKind
from milvane.gateway.translate.functions import decode_record
from milvane.serving.caching.cache import VectorCache
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.ports import FieldVectors
from milvane.testing.engines import HashingEngine

TYPES = schema_pb2.DataType
PLACEHOLDERS = common_pb2.PlaceholderType


@dataclass
class Elsewhere:
    """A provider: a text's vector is its length, everywhere; it refuses and is busy on demand."""

    names: Sequence[str] = ("tei",)
    asked: list[tuple[str, Purpose, list[str]]] = field(default_factory=list)

    def check(self, function: ProviderFunction) -> None:
        """Find nothing wrong."""

    async def embed(
        self,
        function: ProviderFunction,
        texts: Sequence[str],
        *,
        purpose: Purpose,
        time_left_s: float | None = None,
        is_fresh: bool = False,
        spending: Spending | None = None,
    ) -> FieldVectors:
        """Measure the texts."""
        self.asked.append((function.output.name, purpose, list(texts)))
        if "refuse" in texts:
            raise ProviderRefused(f"call service failed, errs:[no {function.output.name}]")
        if "busy" in texts:
            raise ProviderUnavailable(f"call service failed, errs:[busy {function.output.name}]")
        kind = np.int8 if function.output.kind is VectorKind.INT8 else np.float32
        lengths = np.array([len(text) for text in texts], kind)
        return np.repeat(lengths[:, None], function.output.dimension, axis=1)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Put a gateway that may call a provider between a raw client and a recorder."""
    async with a_bench(providers=Elsewhere()) as bench:
        yield bench


def a_schema(**vectors: int) -> schema_pb2.CollectionSchema:
    """Build `articles` with vector fields of these types, 1,024 wide, without functions."""
    schema = milvus_pb2.DescribeCollectionResponse.FromString(described()).schema
    del schema.fields[2]
    for name, kind in vectors.items():
        added = schema.fields.add(name=name, data_type=kind)
        if kind != TYPES.SparseFloatVector:
            added.type_params.add(key="dim", value="1024")
    return schema


def a_search(*texts: str, **params: str) -> milvus_pb2.SearchRequest:
    """Search `articles` with texts."""
    group = common_pb2.PlaceholderGroup()
    group.placeholders.add(
        tag="$0", type=PLACEHOLDERS.VarChar, values=[text.encode() for text in texts]
    )
    request = milvus_pb2.SearchRequest(
        collection_name="articles",
        placeholder_group=group.SerializeToString(),
        nq=len(texts),
    )
    for key, value in ({"anns_field": "dense"} | params).items():
        request.search_params.add(key=key, value=value)
    return request


def placeholder(serialized: bytes) -> common_pb2.PlaceholderValue:
    """Read the queries of a search."""
    (found,) = common_pb2.PlaceholderGroup.FromString(serialized).placeholders
    return found


def status_of(reply: bytes, kind: type = milvus_pb2.MutationResult) -> common_pb2.Status:
    """Read how a call went."""
    return kind.FromString(reply).status


async def with_both(bench: Bench) -> None:
    """Create `articles` with a dense and a sparse vector of one text and model."""
    schema = a_schema(dense=TYPES.FloatVector, terms=TYPES.SparseFloatVector)
    add_function(schema, "embed", "dense")
    add_function(schema, "weigh", "terms", output_type="sparse")
    assert not (await create(bench, schema)).code


async def test_dense_and_sparse_share_a_forward_pass(bench: Bench) -> None:
    """The texts of an insert are computed once, and fill both fields."""
    await with_both(bench)
    await bench.call("Insert", a_write("one", "two words"))
    assert [call.texts for call in bench.engine.calls] == [2]
    sent = milvus_pb2.InsertRequest.FromString(bench.upstream.calls[-1][1])
    dense, terms = sent.fields_data[2:]
    assert (dense.field_name, dense.type) == ("dense", TYPES.FloatVector)
    assert (terms.field_name, terms.type) == ("terms", TYPES.SparseFloatVector)
    assert [len(row) // 8 for row in terms.vectors.sparse_float_vector.contents] == [1, 2]


async def test_hybrid_search_embeds_a_repeated_text_once(bench: Bench) -> None:
    """Parts that ask the same of one model share its answer, each in its own kind of vector."""
    await with_both(bench)
    terms = a_search("where", anns_field="terms")
    parts = [a_search("where"), terms, a_search("where"), a_search("else")]
    request = milvus_pb2.HybridSearchRequest(collection_name="articles", requests=parts)
    await bench.call("HybridSearch", request.SerializeToString())
    assert sorted(call.texts for call in bench.engine.calls) == [1, 1]
    sent = milvus_pb2.HybridSearchRequest.FromString(bench.upstream.calls[-1][1])
    found = [placeholder(part.placeholder_group) for part in sent.requests]
    assert [each.type for each in found] == [
        PLACEHOLDERS.FloatVector,
        PLACEHOLDERS.SparseFloatVector,
        PLACEHOLDERS.FloatVector,
        PLACEHOLDERS.FloatVector,
    ]
    assert found[0].values == found[2].values != found[3].values


async def test_identical_queries_are_embedded_once(bench: Bench) -> None:
    """A search may repeat a text; each place gets its vector."""
    await with_function(bench)
    await bench.call("Search", a_search("a", "b", "a").SerializeToString())
    assert bench.engine.embedded_texts == 2
    values = placeholder(
        milvus_pb2.SearchRequest.FromString(bench.upstream.calls[-1][1]).placeholder_group
    ).values
    assert len(values) == 3
    assert values[0] == values[2] != values[1]


async def test_search_changes_in_its_queries_alone(bench: Bench) -> None:
    """Ranges, groups, iterators, partitions, consistency and rerank functions go on as they are."""
    await with_function(bench)
    request = a_search(
        "where",
        topk="7",
        params='{"radius": 0.2, "range_filter": 0.9}',
        group_by_field="author",
        group_size="3",
        iterator="True",
        search_iter_batch_size="100",
        search_iter_id="abc",
    )
    request.dsl = "year > 2000"
    request.partition_names.append("new")
    request.output_fields.extend(["document", "dense"])
    request.consistency_level = common_pb2.ConsistencyLevel.Strong
    request.guarantee_timestamp = 99
    decay = request.function_score.functions.add(
        name="decay", type=schema_pb2.FunctionType.Rerank, input_field_names=["year"]
    )
    decay.params.add(key="reranker", value="decay")
    unknown = b"\xca\xbb\x04\x03new"
    await bench.call("Search", request.SerializeToString() + unknown)
    sent = milvus_pb2.SearchRequest.FromString(bench.upstream.calls[-1][1])
    assert sent.placeholder_group != request.placeholder_group
    sent.placeholder_group = request.placeholder_group
    expected = milvus_pb2.SearchRequest.FromString(request.SerializeToString() + unknown)
    assert sent == expected
    assert unknown in bench.upstream.calls[-1][1]


async def with_int8(bench: Bench) -> None:
    """Create `articles` whose int8 vectors come from elsewhere."""
    schema = a_schema(dense=TYPES.Int8Vector)
    add_function(schema, "embed", "dense", provider="tei", endpoint="http://here")
    assert not (await create(bench, schema)).code


async def test_int8_vectors_reach_an_upstream_that_has_them(bench: Bench) -> None:
    """Rows and queries hold one byte a component, and say their type and dimension."""
    await with_int8(bench)
    await bench.call("Insert", a_write("four", "sevenxx"))
    column = milvus_pb2.InsertRequest.FromString(bench.upstream.calls[-1][1]).fields_data[2]
    assert (column.type, column.field_name, column.vectors.dim) == (
        TYPES.Int8Vector,
        "dense",
        1024,
    )
    assert column.vectors.int8_vector == b"\x04" * 1024 + b"\x07" * 1024
    await bench.call("Search", a_search("sixsix").SerializeToString())
    queries = placeholder(
        milvus_pb2.SearchRequest.FromString(bench.upstream.calls[-1][1]).placeholder_group
    )
    assert (queries.type, list(queries.values)) == (PLACEHOLDERS.Int8Vector, [b"\x06" * 1024])


async def test_upsert_gets_int8_vectors_too(bench: Bench) -> None:
    """An upsert's rows are an insert's rows."""
    await with_int8(bench)
    insert = milvus_pb2.InsertRequest.FromString(a_write("four"))
    upsert = milvus_pb2.UpsertRequest(
        collection_name="articles", num_rows=1, fields_data=insert.fields_data
    )
    await bench.call("Upsert", upsert.SerializeToString())
    column = milvus_pb2.UpsertRequest.FromString(bench.upstream.calls[-1][1]).fields_data[2]
    assert column.vectors.int8_vector == b"\x04" * 1024


async def with_two_elsewhere(bench: Bench) -> None:
    """Create `articles` whose two vectors come from elsewhere."""
    schema = a_schema(dense=TYPES.FloatVector, other=TYPES.FloatVector)
    for name, output in (("embed", "dense"), ("again", "other")):
        add_function(schema, name, output, provider="tei", endpoint="http://here")
    assert not (await create(bench, schema)).code


async def test_all_functions_that_fail_are_told_of(bench: Bench) -> None:
    """The reason is Milvus's list, and nothing was stored."""
    await with_two_elsewhere(bench)
    before = len(bench.upstream.calls)
    status = status_of(await bench.call("Insert", a_write("refuse")))
    assert status.reason == (
        "[call service failed, errs:[no dense] call service failed, errs:[no other]]"
    )
    assert status.code == 65535
    names = [call[0].rpartition("/")[2] for call in bench.upstream.calls[before:]]
    assert names == ["DescribeCollection"]


async def test_all_functions_with_a_bad_text_are_told_of(bench: Bench) -> None:
    """The list is the same where the texts are to blame."""
    await with_two_elsewhere(bench)
    reason = status_of(await bench.call("Insert", a_write("good", ""))).reason
    assert reason.startswith("[there is an empty string")
    assert reason.count("function embed, field document, row 1") == 1
    assert reason.count("function again, field document, row 1") == 1


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("refuse", 2400, "errs:[no dense]: function execution failed"),
        ("busy", 2, "errs:[busy dense]"),
        ("", 1100, "row 0: invalid parameter"),
    ],
)
async def test_failures_have_the_codes_of_the_version(text: str, code: int, said: str) -> None:
    """Milvus 3.0 tells whose fault it is, and whether to try again."""
    async with a_bench(providers=Elsewhere(), compat="3.0") as bench:
        schema = a_schema(dense=TYPES.FloatVector)
        add_function(schema, "embed", "dense", provider="tei", endpoint="http://here")
        await create(bench, schema)
        status = status_of(await bench.call("Insert", a_write(text)))
    assert status.code == code
    assert status.reason.endswith(said)
    assert status.retriable == (text == "busy")


def described_without(bench: Bench, name: str) -> None:
    """Let the upstream drop a field behind the gateway's back."""
    description = milvus_pb2.DescribeCollectionResponse.FromString(
        bench.upstream.replies["DescribeCollection"]
    )
    kept = [each for each in description.schema.fields if each.name != name]
    del description.schema.fields[:]
    description.schema.fields.extend(kept)
    bench.upstream.replies["DescribeCollection"] = description.SerializeToString()


@pytest.mark.parametrize(("dropped", "side"), [("dense", "outputs"), ("document", "inputs")])
async def test_function_whose_field_is_gone_is_told_of(
    bench: Bench, dropped: str, side: str
) -> None:
    """Rows are refused in Milvus's words; the function is shown, and can be dropped."""
    await with_function(bench)
    described_without(bench, dropped)
    reason = status_of(await bench.call("Insert", a_write("text"))).reason
    assert f"function [embed]'s {side} does not match the schema" in reason
    assert bench.engine.embedded_texts == 0
    reply = milvus_pb2.DescribeCollectionResponse.FromString(await bench.call("DescribeCollection"))
    assert [function.name for function in reply.schema.functions] == ["embed"]
    drop = milvus_pb2.DropCollectionFunctionRequest(
        collection_name="articles", function_name="embed"
    )
    bench.upstream.replies["AlterCollection"] = b""
    answer = await bench.call("DropCollectionFunction", drop.SerializeToString())
    assert not common_pb2.Status.FromString(answer).code
    change = milvus_pb2.AlterCollectionRequest.FromString(bench.upstream.calls[-1][1])
    (kept,) = change.properties
    assert kept.key == "milvane.functions"
    assert decode_record(kept.value).functions == ()


async def test_client_that_knows_a_dropped_function_is_told_to_look_again(bench: Bench) -> None:
    """Its rows lack a vector that nobody makes any more: Milvus's SchemaMismatch, and no row."""
    await with_function(bench)
    seen = milvus_pb2.DescribeCollectionResponse.FromString(await bench.call("DescribeCollection"))
    drop = milvus_pb2.DropCollectionFunctionRequest(
        collection_name="articles", function_name="embed"
    )
    bench.upstream.replies["AlterCollection"] = b""
    await bench.call("DropCollectionFunction", drop.SerializeToString())
    change = milvus_pb2.AlterCollectionRequest.FromString(bench.upstream.calls[-1][1])
    description = milvus_pb2.DescribeCollectionResponse.FromString(
        bench.upstream.replies["DescribeCollection"]
    )
    del description.properties[:]
    description.properties.extend(change.properties)
    bench.upstream.replies["DescribeCollection"] = description.SerializeToString()
    reply = await bench.call("Insert", a_write("text", revision=seen.update_timestamp))
    assert status_of(reply).error_code == common_pb2.ErrorCode.SchemaMismatch
    now = milvus_pb2.DescribeCollectionResponse.FromString(await bench.call("DescribeCollection"))
    assert not now.schema.functions
    assert not now.properties
    assert now.update_timestamp > seen.update_timestamp


def a_drop(**values: object) -> bytes:
    """Change the schema of `articles` as Milvus 3.0's clients do."""
    request = milvus_pb2.AlterCollectionSchemaRequest(collection_name="articles")
    for key, value in values.items():
        setattr(request.action.drop_request, key, value)
    return request.SerializeToString()


async def test_function_is_dropped_with_its_field(bench: Bench) -> None:
    """The upstream, which knows no such function, is told to drop the field."""
    await with_function(bench)
    bench.upstream.replies["AlterCollectionSchema"] = b""
    bench.upstream.replies["AlterCollection"] = b""
    before = len(bench.upstream.calls)
    drop = a_drop(function_name="embed", drop_function_output_fields=True)
    reply = milvus_pb2.AlterCollectionSchemaResponse.FromString(
        await bench.call("AlterCollectionSchema", drop)
    )
    assert not reply.alter_status.code
    names = [call[0].rpartition("/")[2] for call in bench.upstream.calls[before:]]
    assert names == ["DescribeCollection", "AlterCollectionSchema", "AlterCollection"]
    assert bench.upstream.calls[-2][1] == a_drop(field_name="dense")


async def test_function_stays_where_its_field_cannot_go(bench: Bench) -> None:
    """What the upstream answers is passed on, and nothing is half done."""
    await with_function(bench)
    refusal = milvus_pb2.AlterCollectionSchemaResponse(
        alter_status=common_pb2.Status(code=1100, reason="not this one")
    ).SerializeToString()
    bench.upstream.replies["AlterCollectionSchema"] = refusal
    drop = a_drop(function_name="embed", drop_function_output_fields=True)
    assert await bench.call("AlterCollectionSchema", drop) == refusal
    assert bench.upstream.calls[-1][0].endswith("AlterCollectionSchema")


async def test_field_of_a_function_stays(bench: Bench) -> None:
    """A field that a function needs is not dropped; other changes pass as the same bytes."""
    await with_function(bench)
    reply = milvus_pb2.AlterCollectionSchemaResponse.FromString(
        await bench.call("AlterCollectionSchema", a_drop(field_name="document"))
    )
    assert "function embed needs it" in reply.alter_status.reason
    await bench.call("AlterCollectionSchema", a_drop(field_name="note") + b"\xca\x3e\x03new")
    assert bench.upstream.calls[-1][1] == a_drop(field_name="note") + b"\xca\x3e\x03new"


async def test_batch_of_descriptions_shows_the_functions(bench: Bench) -> None:
    """Each collection of a batch is described as it is alone."""
    await with_function(bench)
    alone = bench.upstream.replies["DescribeCollection"]
    batch = milvus_pb2.BatchDescribeCollectionResponse()
    batch.responses.append(milvus_pb2.DescribeCollectionResponse.FromString(alone))
    batch.responses.append(milvus_pb2.DescribeCollectionResponse.FromString(described()))
    bench.upstream.replies["BatchDescribeCollection"] = batch.SerializeToString()
    reply = milvus_pb2.BatchDescribeCollectionResponse.FromString(
        await bench.call("BatchDescribeCollection")
    )
    assert [[f.name for f in each.schema.functions] for each in reply.responses] == [["embed"], []]
    assert not reply.responses[0].properties
    one = milvus_pb2.DescribeCollectionResponse.FromString(await bench.call("DescribeCollection"))
    assert reply.responses[0] == one


async def test_batch_is_described_where_the_upstream_has_no_batches(bench: Bench) -> None:
    """Each collection is asked for by itself, in the client's name."""
    await with_function(bench)
    bench.upstream.refusals["BatchDescribeCollection"] = (grpc.StatusCode.UNIMPLEMENTED, "no")
    request = milvus_pb2.BatchDescribeCollectionRequest(
        db_name="second", collection_name=["articles", "again"]
    )
    reply = milvus_pb2.BatchDescribeCollectionResponse.FromString(
        await bench.call("BatchDescribeCollection", request.SerializeToString())
    )
    assert [len(each.schema.functions) for each in reply.responses] == [1, 1]
    asked = [
        milvus_pb2.DescribeCollectionRequest.FromString(sent)
        for name, sent, _ in bench.upstream.calls[-2:]
    ]
    assert [(each.db_name, each.collection_name) for each in asked] == [
        ("second", "articles"),
        ("second", "again"),
    ]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.call("BatchDescribeCollection", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_purpose_and_instruction_reach_the_weights() -> None:
    """A question is embedded with what the function says it is for, a row without."""
    told = HashingEngine(is_told=True)
    async with a_bench(engine=told) as bench:
        schema = a_schema(dense=TYPES.FloatVector)
        add_function(schema, "embed", "dense", instruct="Find the answer")
        await create(bench, schema)
        await bench.call("Insert", a_write("where"))
        row = milvus_pb2.InsertRequest.FromString(bench.upstream.calls[-1][1]).fields_data[2]
        await bench.call("Search", a_search("where").SerializeToString())
        query = placeholder(
            milvus_pb2.SearchRequest.FromString(bench.upstream.calls[-1][1]).placeholder_group
        ).values[0]
    for instruction, purpose, sent in (
        (None, Purpose.DOCUMENT, np.asarray(row.vectors.float_vector.data, "<f4").tobytes()),
        ("Find the answer", Purpose.QUERY, query),
    ):
        ids = await told.tokenize(["where"], purpose=purpose, instruction=instruction)
        vectors = await told.embed(ids, dimension=1024, lane=Lane.BULK)
        np.testing.assert_allclose(np.frombuffer(sent, "<f4"), vectors[0], atol=1e-6)


async def test_query_text_is_embedded_once_not_per_page() -> None:
    """An iterator asks again with the same text; it is embedded for the first page alone."""
    async with a_bench(cache=VectorCache(CacheSettings())) as bench:
        await with_function(bench)
        for page in range(3):
            request = a_search("where", iterator="True", params=f'{{"radius": {page}}}')
            await bench.call("Search", request.SerializeToString())
        sent = [
            milvus_pb2.SearchRequest.FromString(each[1]).placeholder_group
            for each in bench.upstream.calls[-3:]
        ]
    assert bench.engine.embedded_texts == 1
    assert sent[0] == sent[1] == sent[2]


async def test_new_field_of_a_remote_milvus_keeps_the_function(bench: Bench) -> None:
    """The call passes, the new field is seen, and rows are embedded as before."""
    await with_function(bench)
    await bench.call("Insert", a_write("before"))
    description = milvus_pb2.DescribeCollectionResponse.FromString(
        bench.upstream.replies["DescribeCollection"]
    )
    description.schema.fields.add(name="note", data_type=TYPES.VarChar, nullable=True)
    description.update_timestamp = 4711
    bench.upstream.replies["DescribeCollection"] = description.SerializeToString()
    await bench.call("AddCollectionField", b"")
    write = milvus_pb2.InsertRequest.FromString(a_write("after", revision=4711))
    note = write.fields_data.add(field_name="note", type=TYPES.VarChar)
    note.scalars.string_data.data.append("new")
    await bench.call("Insert", write.SerializeToString())
    sent = milvus_pb2.InsertRequest.FromString(bench.upstream.calls[-1][1])
    assert [each.field_name for each in sent.fields_data] == ["id", "document", "note", "dense"]


async def test_text_that_is_not_utf8_is_refused(bench: Bench) -> None:
    """Protocol Buffers hold valid text only: a client that breaks that is told so."""
    await with_function(bench)
    request = a_write("caf\u00e9").replace("\u00e9".encode(), b"\xff\xfe")
    status = status_of(await bench.call("Insert", request))
    assert "cannot be decoded as InsertRequest" in status.reason
    search = milvus_pb2.SearchRequest.FromString(a_search("x").SerializeToString())
    group = common_pb2.PlaceholderGroup.FromString(search.placeholder_group)
    group.placeholders[0].values[0] = b"\xff"
    search.placeholder_group = group.SerializeToString()
    reply = await bench.call("Search", search.SerializeToString())
    assert "not valid UTF-8" in status_of(reply, milvus_pb2.SearchResults).reason
    assert bench.engine.embedded_texts == 0


@pytest.mark.parametrize(("queries", "is_taken"), [(16_384, True), (16_385, False), (0, False)])
async def test_queries_are_counted_first(bench: Bench, queries: int, is_taken: bool) -> None:
    """As many as Milvus takes are embedded; more, or none, cost nothing."""
    await with_function(bench)
    request = a_search(*(["same"] * queries))
    reply = await bench.call("Search", request.SerializeToString())
    if is_taken:
        sent = milvus_pb2.SearchRequest.FromString(bench.upstream.calls[-1][1])
        assert len(placeholder(sent.placeholder_group).values) == queries
        return
    status = status_of(reply, milvus_pb2.SearchResults)
    assert f"nq [{queries}] is invalid" in status.reason
    assert bench.engine.embedded_texts == 0


async def test_rows_are_not_capped() -> None:
    """An insert may have as many rows as its message holds."""
    async with a_bench(max_message_bytes=256 << 20) as bench:
        schema = a_schema(dense=TYPES.FloatVector)
        schema.fields[2].type_params[0].value = "64"
        add_function(schema, "embed", "dense", dim="64")
        await create(bench, schema)
        await bench.call("Insert", a_write(*(["same"] * 20_000)))
        sent = milvus_pb2.InsertRequest.FromString(bench.upstream.calls[-1][1])
    assert len(sent.fields_data[2].vectors.float_vector.data) == 20_000 * 64
    assert bench.engine.embedded_texts == 1


async def test_longest_text_of_milvus_is_taken(bench: Bench) -> None:
    """65,535 bytes are what a VARCHAR may hold; one more is refused with row and length."""
    schema = a_schema(dense=TYPES.FloatVector)
    schema.fields[1].type_params[0].value = "65535"
    add_function(schema, "embed", "dense")
    await create(bench, schema)
    await bench.call("Insert", a_write("x" * 65_535))
    assert bench.engine.embedded_texts == 1
    status = status_of(await bench.call("Insert", a_write("x" * 65_536)))
    assert "row number: 0, length: 65536, max length: 65535" in status.reason


async def test_vector_that_is_no_number_is_refused(bench: Bench) -> None:
    """Brought beside a text, it costs no tokens and names its row."""
    schema = a_schema(dense=TYPES.FloatVector, own=TYPES.FloatVector)
    add_function(schema, "embed", "dense")
    await create(bench, schema)
    write = milvus_pb2.InsertRequest.FromString(a_write("text"))
    own = write.fields_data.add(field_name="own", type=TYPES.FloatVector)
    own.vectors.dim = 1024
    own.vectors.float_vector.data.extend([0.0] * 1023 + [float("nan")])
    status = status_of(await bench.call("Insert", write.SerializeToString()))
    assert "value is not a number or infinity: field own, row number: 0" in status.reason
    assert bench.engine.embedded_texts == 0


async def test_huge_message_is_refused() -> None:
    """300 MB are more than the usual limit: the server says so, and lives."""
    async with a_bench(max_message_bytes=256 << 20) as bench:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bench.call("Insert", bytes(300 << 20))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await bench.call("HasCollection", b"x")
        assert len(bench.upstream.calls) == 1


@pytest.mark.parametrize("name", ["Insert", "Search", "DescribeCollection", "HybridSearch"])
async def test_upstream_that_dies_in_a_call_is_told_as_a_status(bench: Bench, name: str) -> None:
    """The client learns at once that the outcome is unknown, and may try again."""
    await with_function(bench)
    requests = {
        "Insert": a_write("text"),
        "Search": a_search("text").SerializeToString(),
        "HybridSearch": milvus_pb2.HybridSearchRequest(
            collection_name="articles", requests=[a_search("text")]
        ).SerializeToString(),
    }
    bench.upstream.holding.add(name)
    call = asyncio.create_task(bench.call(name, requests.get(name, b"")))
    await asyncio.wait_for(bench.upstream.held.wait(), 5)
    await bench.stop_upstream.stop(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
