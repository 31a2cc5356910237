"""Embedding functions of models that take images, between a raw client and an upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from colours import (
    ColourEngine,
    DataReader,
    a_video,
    an_image,
    colour_service,
    data_uri,
)
from gateway_bench import Bench, a_bench, a_write, add_function, create, described

TYPES = schema_pb2.DataType
MODEL = "qwen3-vl-embedding"
IMAGE, VIDEO = "https://media.example/a.png?sign=1", "https://media.example/v.mp4"
GONE = "https://media.example/gone.png"


@dataclass
class Shop:
    """A gateway before an engine that sees colours."""

    bench: Bench
    engine: ColourEngine
    reader: DataReader

    async def insert(self, *values: str, method: str = "Insert") -> milvus_pb2.MutationResult:
        """Write values into the field that the function reads."""
        reply = await self.bench.call(method, a_write(*values, revision=1))
        return milvus_pb2.MutationResult.FromString(reply)

    def written(self) -> milvus_pb2.InsertRequest:
        """Look at what reached the upstream last."""
        return milvus_pb2.InsertRequest.FromString(self.bench.upstream.calls[-1][1])

    def rows(self) -> np.ndarray:
        """Look at the vectors that reached the upstream last."""
        (column,) = [each for each in self.written().fields_data if each.field_name == "dense"]
        return np.array(column.vectors.float_vector.data).reshape(-1, column.vectors.dim)

    @property
    def writes(self) -> int:
        """How many writes reached the upstream."""
        return sum(name.endswith(("Insert", "Upsert")) for name, *_ in self.bench.upstream.calls)


@asynccontextmanager
async def a_shop(**params: str) -> AsyncIterator[Shop]:
    """Bind the model to a collection `articles` with these parameters."""
    engine, reader = ColourEngine(), DataReader()
    reader.kept = {IMAGE: an_image("orange"), VIDEO: a_video("orange", 3)}
    async with a_bench(embedding=colour_service(engine, reader)) as bench:
        status = await bind(bench, **params)
        assert not status.code, status.reason
        bench.upstream.replies["Insert"] = milvus_pb2.MutationResult(
            insert_cnt=2, succ_index=[0, 1]
        ).SerializeToString()
        yield Shop(bench, engine, reader)


async def bind(bench: Bench, model: str = MODEL, **params: str) -> common_pb2.Status:
    """Create `articles` with a function of the model."""
    schema = milvus_pb2.DescribeCollectionResponse.FromString(described()).schema
    schema.fields[1].type_params[0].value = "60000"
    asked = {"model_name": model, "dim": "1024"} | params
    add_function(schema, "see", "dense", **{key: value for key, value in asked.items() if value})
    return await create(bench, schema)


async def search(shop: Shop, *queries: str) -> milvus_pb2.SearchResults:
    """Search with texts or addresses."""
    group = common_pb2.PlaceholderGroup()
    group.placeholders.add(
        tag="$0",
        type=common_pb2.PlaceholderType.VarChar,
        values=[query.encode() for query in queries],
    )
    request = milvus_pb2.SearchRequest(
        collection_name="articles", placeholder_group=group.SerializeToString()
    )
    request.search_params.add(key="anns_field", value="dense")
    reply = await shop.bench.call("Search", request.SerializeToString())
    return milvus_pb2.SearchResults.FromString(reply)


def placeholder(shop: Shop) -> np.ndarray:
    """Look at the query vectors that reached the upstream."""
    request = milvus_pb2.SearchRequest.FromString(shop.bench.upstream.calls[-1][1])
    group = common_pb2.PlaceholderGroup.FromString(request.placeholder_group)
    return np.stack([np.frombuffer(value, "<f4") for value in group.placeholders[0].values])


async def test_rows_are_texts_images_or_videos_as_their_values_say() -> None:
    """An address as the whole value is looked at; a text that contains one stays a text."""
    async with a_shop() as shop:
        values = ["orange", IMAGE, VIDEO, data_uri(an_image("orange")), f"see {IMAGE}"]
        result = await shop.insert(*values)
        assert not result.status.code
        cosines = shop.rows() @ shop.rows()[0]
        assert np.allclose(cosines[:4], 1, atol=1e-4)
        assert cosines[4] < 0.1
        assert shop.reader.fetched == 3
        written = shop.written()
        assert list(written.fields_data[1].scalars.string_data.data) == values


async def test_queries_are_texts_or_images() -> None:
    """Text and picture find what means the same."""
    async with a_shop() as shop:
        await search(shop, "orange", IMAGE)
        vectors = placeholder(shop)
        assert vectors.shape == (2, 1024)
        assert vectors[0] @ vectors[1] > 0.999


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (GONE, "the address does not answer with an image or a video"),
        (data_uri(b"<html></html>"), "neither an image nor a video"),
        (data_uri(an_image("green", (64, 64))[:80]), "the image is damaged"),
    ],
    ids=["gone", "html", "truncated"],
)
async def test_a_bad_row_is_named_and_nothing_is_written(value: str, reason: str) -> None:
    """The refusal has the reason, the function, the field and the row."""
    async with a_shop() as shop:
        result = await shop.insert("blue", IMAGE, value)
        assert result.status.code == 65535
        assert reason in result.status.reason
        assert result.status.reason.endswith(": function see, field document, row 2")
        assert shop.writes == 0
        assert all(held.is_closed for held in shop.reader.held)
        refused = await search(shop, "blue", value)
        assert reason in refused.status.reason
        assert refused.status.reason.endswith(": function see, field dense, query 1")


async def test_rows_can_be_left_out_and_are_reported() -> None:
    """With `on_error: skip`, the rest is written, and the reply says which rows were not."""
    async with a_shop(on_error="skip") as shop:
        result = await shop.insert("blue", GONE, IMAGE, GONE)
        assert not result.status.code
        assert (list(result.err_index), list(result.succ_index)) == ([1, 3], [0, 2])
        written = shop.written()
        assert written.num_rows == 2
        assert list(written.fields_data[0].scalars.long_data.data) == [0, 2]
        assert list(written.fields_data[1].scalars.string_data.data) == ["blue", IMAGE]
        assert np.allclose(np.linalg.norm(shop.rows(), axis=1), 1, atol=1e-4)
        nothing = await shop.insert(GONE)
        assert (nothing.insert_cnt, list(nothing.err_index)) == (0, [0])
        assert shop.writes == 1
        refused = await search(shop, GONE)  # a search has no row to leave out
        assert refused.status.code == 65535


@pytest.mark.parametrize(
    ("model", "params", "words"),
    [
        (MODEL, {"on_error": "null"}, "lets no output field of a function be nullable"),
        (MODEL, {"on_error": "ignore"}, "only supports: [fail, skip]"),
        ("text-embedding-v4", {"on_error": "skip"}, "takes texts alone"),
        (MODEL, {"dim": ""}, 'add the function parameter "dim": "1024"'),
        (MODEL, {"output_type": "sparse"}, "model output is Sparse"),
        ("ops-m2-encoder", {"dim": ""}, "the model is [768]"),
    ],
)
async def test_bindings_that_cannot_work_are_refused(
    model: str, params: dict[str, str], words: str
) -> None:
    """When the collection is made, and not with the first row."""
    async with a_bench(embedding=colour_service(ColourEngine(), DataReader())) as bench:
        status = await bind(bench, model, **params)
        assert status.code == 65535
        assert words in status.reason


async def test_two_functions_are_computed_beside_each_other() -> None:
    """One for texts and one for pictures fill their fields from one write."""
    engine, reader = ColourEngine(), DataReader()
    reader.kept = {IMAGE: an_image("orange")}
    async with a_bench(embedding=colour_service(engine, reader)) as bench:
        schema = milvus_pb2.DescribeCollectionResponse.FromString(described()).schema
        added = schema.fields.add(name="seen", data_type=TYPES.FloatVector)
        added.type_params.add(key="dim", value="512")
        add_function(schema, "read", "dense")
        add_function(schema, "see", "seen", model_name=MODEL, dim="512")
        assert not (await create(bench, schema)).code
        await bench.call("Insert", a_write("blue", IMAGE, revision=1))
        written = milvus_pb2.InsertRequest.FromString(bench.upstream.calls[-1][1])
        widths = {each.field_name: each.vectors.dim for each in written.fields_data[2:]}
        assert widths == {"dense": 1024, "seen": 512}
