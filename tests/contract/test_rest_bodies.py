"""Bodies of REST v2 that are wrong, nested or borderline: each gets Milvus's code and a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.gateway.rest_v2.paths import PREFIX
from milvane.serving.access import AccessSettings
from rest_benches import Remembering, an_app, articles

DataType = schema_pb2.DataType
FITTING = {
    "dense": "[1,0]",
    "sparse": '{"1":0.5}',
    "bits": "[1,255]",
    "bytes": "[-128,127]",
}
VECTORS = ",".join(f'"{name}":{value}' for name, value in FITTING.items())


def nested(levels: int) -> str:
    """Write lists in lists."""
    return "[" * levels + "]" * levels


def inserting(row: str) -> str:
    """Write the body that inserts one row."""
    return f'{{"collectionName":"articles","data":[{{{row}}}]}}'


def searching(more: str) -> str:
    """Write the body of a search with something beside it."""
    return f'{{"collectionName":"articles","data":[[1,0]],"annsField":"dense",{more}}}'


@pytest.fixture
def upstream() -> Remembering:
    """An upstream with one collection of many types."""
    described = articles()
    described.schema.enable_dynamic_field = True
    add = described.schema.fields.add
    add(name="sparse", data_type=DataType.SparseFloatVector)
    for name, kind, dimension in (("bits", "BinaryVector", 16), ("bytes", "Int8Vector", 2)):
        field = add(name=name, data_type=DataType.Value(kind))
        field.type_params.add(key="dim", value=str(dimension))
    for name in ("JSON", "Double", "Bool"):
        add(name=name.lower(), data_type=DataType.Value(name), nullable=True)
    replies = {"DescribeCollection": described.SerializeToString()}
    return Remembering(replies=replies)


@pytest.fixture
async def http(upstream: Remembering) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    transport = httpx.ASGITransport(app=an_app(upstream, AccessSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


async def send(http: httpx.AsyncClient, path: str, body: str | bytes, kind: str = "") -> dict:
    """Send a body as it is."""
    headers = {"content-type": kind} if kind else {}
    reply = await http.post(PREFIX + path, content=body, headers=headers)
    assert reply.status_code == 200
    return reply.json()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        '{"a":',
        "<a/>",
        b"\x1f\x8b\x08\x00",
        b'{"collectionName":"\xff"}',
        '{"collectionName":"\\ud800"}',
        '{"collectionName":5,"data":[{}]}',
        inserting(f'"id":NaN,{VECTORS}'),
        inserting('"id":1,"dense":[1e999,0]'),
        inserting(f'"id":1,{VECTORS},"x":{nested(2000)}'),
        searching('"limit":99999999999999999999'),
    ],
)
async def test_body_that_cannot_be_read_is_refused(
    http: httpx.AsyncClient, upstream: Remembering, body: str | bytes
) -> None:
    """What is no JSON, or has values of other types, gets code 1801, and nothing is called."""
    path = "entities/search" if "annsField" in str(body) else "entities/insert"
    answer = await send(http, path, body)
    assert answer["code"] == 1801
    assert answer["message"].startswith("can only accept json format request, error: ")
    assert not upstream.calls


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_content_type_does_not_matter(
    http: httpx.AsyncClient, upstream: Remembering, kind: str
) -> None:
    """A body is read as JSON whatever it is called: `curl --data` calls it a form."""
    answer = await send(http, "entities/insert", inserting(f'"id":1,{VECTORS}'), kind)
    assert answer["code"] == 0
    assert upstream.names[-1] == "Insert"


async def test_last_of_equal_keys_counts(http: httpx.AsyncClient, upstream: Remembering) -> None:
    """A key that is given twice has its last value, as in Go's JSON."""
    await send(http, "collections/drop", '{"collectionName":"one","collectionName":"two"}')
    ((_, request),) = upstream.calls
    assert milvus_pb2.DropCollectionRequest.FromString(request).collection_name == "two"


@pytest.mark.parametrize("row", [
    '"id":9223372036854775808',
    '"id":18446744073709551616',
    '"id":1.5',
    '"id":1e3',
    '"id":true',
    '"id":null',
    f'"id":{nested(900)}',
    '"id":1,"dense":null',
    '"id":1,"dense":["a",0]',
    '"id":1,"dense":[1]',
    '"id":1,"dense":[1e39,0]',
    f'"id":1,"dense":{nested(900)}',
    '"id":1,"sparse":{"-1":1}',
    '"id":1,"sparse":{"4294967295":1}',
    '"id":1,"sparse":{"99999999999999999999":1}',
    '"id":1,"sparse":{"1":1,"01":2}',
    '"id":1,"sparse":{"1":"x"}',
    '"id":1,"sparse":[1]',
    '"id":1,"bits":[1,256]',
    '"id":1,"bits":[1]',
    '"id":1,"bytes":[-129,0]',
    '"id":1,"bytes":[0.5,0]',
    '"id":1,"double":"abc"',
    '"id":1,"bool":"perhaps"',
    f'"id":1,"json":{nested(300)}',
    f'"id":1,"more":{nested(300)}',
    '"id":1,"$meta":{}',
])  # fmt: skip
async def test_row_that_does_not_fit_is_refused(
    http: httpx.AsyncClient, upstream: Remembering, row: str
) -> None:
    """The answer has the code for rows and names the field; nothing is written."""
    others = [f'"{name}":{fits}' for name, fits in FITTING.items() if f'"{name}"' not in row]
    answer = await send(http, "entities/insert", inserting(",".join([row, *others])))
    assert answer["code"] == 1804, answer
    assert "internal" not in answer["message"]
    assert len(answer["message"]) < 500
    assert "Insert" not in upstream.names


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)])
async def test_large_integers_are_exact(
    http: httpx.AsyncClient, upstream: Remembering, number: int
) -> None:
    """No integer of 64 bits passes through a float: in a key, in JSON, and in the dynamic field."""
    row = f'"id":{number},{VECTORS},"json":{{"n":{number}}},"more":{number}'
    answer = await send(http, "entities/insert", inserting(row))
    assert answer["code"] == 0, answer
    sent = milvus_pb2.InsertRequest.FromString(upstream.calls[-1][1])
    columns = {column.field_name: column.scalars for column in sent.fields_data}
    assert list(columns["id"].long_data.data) == [number]
    assert orjson.loads(columns["json"].json_data.data[0]) == {"n": number}
    assert orjson.loads(columns["$meta"].json_data.data[0]) == {"more": number}


async def test_nulls_are_told_from_values(http: httpx.AsyncClient, upstream: Remembering) -> None:
    """A null of a nullable field is null, a dynamic one is kept, and false and 0 are values."""
    row = f'"id":1,{VECTORS},"json":null,"double":0,"bool":false,"more":null'
    assert (await send(http, "entities/insert", inserting(row)))["code"] == 0
    sent = milvus_pb2.InsertRequest.FromString(upstream.calls[-1][1])
    valid = {column.field_name: list(column.valid_data) for column in sent.fields_data}
    assert (valid["json"], valid["double"], valid["bool"]) == ([False], [True], [True])
    (meta,) = (column for column in sent.fields_data if column.is_dynamic)
    assert meta.scalars.json_data.data[0] == b'{"more":null}'


@pytest.mark.parametrize(
    "template",
    ["9223372036854775808", "[9223372036854775808]", "{}", "null", nested(900)],
    ids=lambda value: value[:30],
)
async def test_value_that_no_filter_takes_is_refused(
    http: httpx.AsyncClient, upstream: Remembering, template: str
) -> None:
    """What Milvus's messages cannot hold is the caller's mistake, not a defect."""
    body = f'{{"collectionName":"a","filter":"x in {{v}}","exprParams":{{"v":{template}}}}}'
    answer = await send(http, "entities/query", body)
    assert answer["code"] == 1100, answer
    assert not upstream.calls


@pytest.mark.parametrize(
    "more",
    [
        f'"properties":{{"x":{nested(300)}}}',
        '"params":{"shardsNum":99999999999}',
        '"params":{"shardsNum":-1}',
        '"params":{"partitionsNum":1e300}',
        '"params":{"partitionsNum":"many"}',
    ],
    ids=lambda value: value[:30],
)
async def test_parameter_out_of_range_is_refused(
    http: httpx.AsyncClient, upstream: Remembering, more: str
) -> None:
    """A new collection's parameters are checked before anything is called."""
    body = f'{{"collectionName":"a","dimension":2,{more}}}'
    answer = await send(http, "collections/create", body)
    assert answer["code"] == 1100, answer
    assert not upstream.calls


async def test_stored_value_that_cannot_be_written_is_told(
    http: httpx.AsyncClient, upstream: Remembering
) -> None:
    """Rows that came over gRPC may be nested deeper than an answer can be."""
    column = schema_pb2.FieldData(field_name="json", type=DataType.JSON)
    column.scalars.json_data.data.append(nested(300).encode())
    reply = milvus_pb2.QueryResults(fields_data=[column], output_fields=["json"])
    upstream.replies["Query"] = reply.SerializeToString()
    answer = await send(http, "entities/query", '{"collectionName":"articles","filter":"id>0"}')
    assert answer["code"] == 65535
    assert "over gRPC" in answer["message"]


@pytest.mark.parametrize("patience", ["nan", "inf", "-1", "0", "soon", "1e400"])
async def test_patience_that_is_no_time_is_ignored(
    http: httpx.AsyncClient, upstream: Remembering, patience: str
) -> None:
    """A `Request-Timeout` that says nothing sets no deadline."""
    body = '{"collectionName":"articles","filter":"id>0"}'
    await http.post(f"{PREFIX}entities/query", content=body, headers={"Request-Timeout": patience})
    assert set(upstream.timeouts) == {None}
