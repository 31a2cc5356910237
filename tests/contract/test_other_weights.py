"""Collections whose vectors were made by weights that do not serve their model any more."""

from __future__ import annotations

import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from gateway_bench import Bench, a_bench, a_write, with_function
from milvane.gateway.settings import OtherWeights
from milvane.gateway.translate.functions import PROPERTY_KEY, decode_record


async def write(bench: Bench, text: str) -> common_pb2.Status:
    """Insert a row; an upstream that is reached accepts it."""
    bench.upstream.replies["Insert"] = milvus_pb2.MutationResult().SerializeToString()
    reply = await bench.call("Insert", a_write(text))
    return milvus_pb2.MutationResult.FromString(reply).status


def a_search(text: str) -> bytes:
    """Search `articles` with a text."""
    placeholders = common_pb2.PlaceholderGroup()
    placeholders.placeholders.add(
        tag="$0", type=common_pb2.PlaceholderType.VarChar, values=[text.encode()]
    )
    request = milvus_pb2.SearchRequest(
        collection_name="articles", placeholder_group=placeholders.SerializeToString(), nq=1
    )
    request.search_params.add(key="anns_field", value="dense")
    return request.SerializeToString()


async def test_weights_are_noted_when_a_function_is_bound() -> None:
    """In the property that travels with the collection."""
    async with a_bench() as bench:
        await with_function(bench)
        created = milvus_pb2.CreateCollectionRequest.FromString(bench.upstream.calls[-1][1])
    [value] = [pair.value for pair in created.properties if pair.key == PROPERTY_KEY]
    assert [function.space for function in decode_record(value).functions] == ["hashing"]


async def test_vectors_of_other_weights_are_not_mixed_in() -> None:
    """Rows and searches are refused before anything is embedded, with the cure."""
    async with a_bench() as bench:
        await with_function(bench)
        assert (await write(bench, "one")).code == 0
        bench.engine.space = "other"
        before = bench.engine.embedded_texts
        reached = len(bench.upstream.calls)
        status = await write(bench, "two")
        assert "other weights" in status.reason
        assert "alter the function" in status.reason
        assert status.error_code != common_pb2.ErrorCode.SchemaMismatch, "asking again is no cure"
        found = milvus_pb2.SearchResults.FromString(await bench.call("Search", a_search("one")))
        assert "then hashing, now other" in found.status.reason
        assert bench.engine.embedded_texts == before
        assert len(bench.upstream.calls) == reached


@pytest.mark.parametrize(("policy", "lines"), [("warn", 1), ("ignore", 0)])
async def test_operator_may_have_it_otherwise(
    policy: OtherWeights, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Told in the log, or not at all; the rows go in."""
    async with a_bench(other_weights=policy) as bench:
        await with_function(bench)
        bench.engine.space = "other"
        assert (await write(bench, "one")).code == 0
    assert sum("do not mix" in each.getMessage() for each in caplog.records) == lines


async def test_altered_function_is_bound_to_the_weights_of_now() -> None:
    """Which is how one goes on with them."""
    async with a_bench() as bench:
        await with_function(bench)
        bench.engine.space = "other"
        described = milvus_pb2.DescribeCollectionResponse.FromString(
            await bench.call("DescribeCollection")
        )
        change = milvus_pb2.AlterCollectionFunctionRequest(
            collection_name="articles",
            function_name="embed",
            functionSchema=described.schema.functions[0],
        )
        bench.upstream.replies["AlterCollection"] = b""
        reply = await bench.call("AlterCollectionFunction", change.SerializeToString())
        assert common_pb2.Status.FromString(reply).code == 0
        kept = milvus_pb2.AlterCollectionRequest.FromString(bench.upstream.calls[-1][1])
        stored = milvus_pb2.DescribeCollectionResponse.FromString(
            bench.upstream.replies["DescribeCollection"]
        )
        del stored.properties[:]
        stored.properties.extend(kept.properties)
        bench.upstream.replies["DescribeCollection"] = stored.SerializeToString()
        assert (await write(bench, "one")).code == 0


async def test_collection_of_an_earlier_version_is_served() -> None:
    """Nobody noted its weights, so nothing can be said of them."""
    async with a_bench() as bench:
        await with_function(bench)
        stored = milvus_pb2.DescribeCollectionResponse.FromString(
            bench.upstream.replies["DescribeCollection"]
        )
        for pair in stored.properties:
            pair.value = pair.value.replace('"space":"hashing"', '"space":""')
        bench.upstream.replies["DescribeCollection"] = stored.SerializeToString()
        bench.engine.space = "other"
        assert (await write(bench, "one")).code == 0
