"""The life of a collection with an embedding function, through a real client and server."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import grpc
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

from milvane.testing.servers import MilvaneProcess

PARAMS = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4", "dim": "64"}
TEXTS = [
    "The cat sleeps on the warm windowsill.",
    "Stock markets fell sharply on Monday.",
    "Fresh bread smells wonderful in the morning.",
    "The spacecraft entered orbit around Mars.",
]
numbers = count()


@pytest.fixture
def client(server: MilvaneProcess) -> Iterator[MilvusClient]:
    """A client of the newest pymilvus."""
    client = MilvusClient(uri=server.grpc_uri)
    yield client
    client.close()


@pytest.fixture
def name(client: MilvusClient) -> str:
    """A collection with four texts, their vectors, and room for more."""
    name = f"life_{next(numbers)}"
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True, auto_id=True)
    schema.add_field("document", DataType.VARCHAR, max_length=65_535)
    schema.add_field("place", DataType.INT64)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=64)
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=PARAMS)
    )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="FLAT", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [{"document": t, "place": i, "tag": "first"} for i, t in enumerate(TEXTS)])
    return name


def places(hits: list[dict[str, object]]) -> list[object]:
    """Say which texts were found, in their order."""
    return [hit["entity"]["place"] for hit in hits]


def search(client: MilvusClient, name: str, text: str, **options: object) -> list[object]:
    """Search with a text; return which texts were found."""
    found = client.search(
        name, [text], anns_field="dense", limit=4, output_fields=["place"], **options
    )
    return places(found[0])


def test_truncated_collection_keeps_its_function(client: MilvusClient, name: str) -> None:
    """The rows are gone, and new ones are embedded."""
    client.truncate_collection(name)
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 0
    client.insert(name, [{"document": TEXTS[3], "place": 3}])
    assert search(client, name, "space travel") == [3]


def test_dropped_collection_takes_its_function_along(client: MilvusClient, name: str) -> None:
    """A collection of the same name starts without one."""
    client.drop_collection(name)
    client.create_collection(name, dimension=64)
    assert not client.describe_collection(name)["functions"]
    with pytest.raises(MilvusException, match="requires a TEXT_EMBEDDING function"):
        client.search(name, ["question"], anns_field="vector", limit=1)


def test_batch_describes_the_functions(server: MilvaneProcess, name: str) -> None:
    """Also where the upstream describes one collection at a time."""
    request = milvus_pb2.BatchDescribeCollectionRequest(collection_name=[name, "absent"])
    with grpc.insecure_channel(server.grpc_uri.removeprefix("http://")) as channel:
        reply = milvus_pb2_grpc.MilvusServiceStub(channel).BatchDescribeCollection(request)
    found, absent = reply.responses
    assert [function.name for function in found.schema.functions] == ["embed"]
    assert absent.status.code == 100


def test_field_that_cannot_be_added_leaves_all_as_it_was(client: MilvusClient, name: str) -> None:
    """The embedded engine has fixed fields and says so; the function goes on."""
    with pytest.raises((MilvusException, grpc.RpcError), match="implement"):
        client.add_collection_field(name, "note", DataType.VARCHAR, max_length=9, nullable=True)
    assert search(client, name, "space travel")[0] == 3
    assert len(client.describe_collection(name)["functions"]) == 1


def test_range_search_takes_a_text(client: MilvusClient, name: str) -> None:
    """Only what is near enough is found."""
    near = {"metric_type": "COSINE", "params": {"radius": 0.9, "range_filter": 1.1}}
    assert search(client, name, TEXTS[1], search_params=near) == [1]


def test_group_by_search_takes_a_text(client: MilvusClient, name: str) -> None:
    """One row of each group, the nearest first."""
    client.insert(name, [{"document": TEXTS[3], "place": 3}])
    assert len(search(client, name, "space travel")) == 4
    (hits,) = client.search(
        name,
        ["space travel"],
        anns_field="dense",
        limit=4,
        output_fields=["place"],
        group_by_field="document",
    )
    assert sorted(places(hits)) == [0, 1, 2, 3]


def test_iterator_takes_a_text(client: MilvusClient, name: str) -> None:
    """All rows come, page by page, each once, the nearest first."""
    client.insert(name, [{"document": f"{TEXTS[i % 4]} {i}", "place": i} for i in range(4, 40)])
    iterator = client.search_iterator(
        name,
        data=["space travel"],
        anns_field="dense",
        batch_size=10,
        limit=40,
        output_fields=["place"],
    )
    pages = []
    while page := iterator.next():
        pages.append(page)
    iterator.close()
    found = [hit["entity"]["place"] for page in pages for hit in page]
    assert len(found) == len(set(found))
    assert len(pages) > 1
    assert found[0] % 4 == 3


def test_partition_holds_embedded_rows(client: MilvusClient, name: str) -> None:
    """A text search keeps to the partitions that it names."""
    client.create_partition(name, "archive")
    client.insert(name, [{"document": TEXTS[3], "place": 9}], partition_name="archive")
    assert search(client, name, TEXTS[3], partition_names=["archive"]) == [9]


def test_rerank_function_is_the_upstreams(client: MilvusClient, name: str) -> None:
    """A decay by another field changes the order of what a text finds."""
    decay = Function(
        name="near_zero",
        input_field_names=["place"],
        function_type=FunctionType.RERANK,
        params={
            "reranker": "decay",
            "function": "gauss",
            "origin": 0,
            "offset": 0,
            "decay": 0.1,
            "scale": 1,
        },
    )
    assert search(client, name, "space travel")[0] == 3
    assert search(client, name, "space travel", ranker=decay)[0] != 3


def test_dynamic_fields_come_along(client: MilvusClient, name: str) -> None:
    """What the schema does not name is stored beside text and vector, and filtered by."""
    client.insert(name, [{"document": TEXTS[3], "place": 5, "tag": "second"}])
    assert search(client, name, "space travel", filter='tag == "second"') == [5]


LONG = "memory " * 9_362


@pytest.mark.parametrize(
    ("text", "said"), [(LONG[:65_535], "takes at most 8192"), ("x" * 65_536, "65535")]
)
def test_longest_texts_get_a_clear_answer(
    client: MilvusClient, name: str, text: str, said: str
) -> None:
    """Too many tokens for the model, or bytes for the field: the refusal says which."""
    with pytest.raises(MilvusException) as caught:
        client.insert(name, [{"document": text, "place": 7}])
    assert said in caught.value.message
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 4
