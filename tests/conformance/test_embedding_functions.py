"""Embedding functions through a real client, a real server and real weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import grpc
import numpy as np
import pytest
from pymilvus import (
    AnnSearchRequest,
    Collection,
    DataType,
    Function,
    FunctionType,
    MilvusClient,
    MilvusException,
    RRFRanker,
    connections,
)
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc, schema_pb2

from milvane.testing.servers import MilvaneProcess

V4 = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
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
def name() -> str:
    """A collection name that nobody else uses."""
    return f"functions_{next(numbers)}"


def embedding(**params: str) -> Function:
    """Build the function that fills `dense` from `document`."""
    return Function(
        name="embed",
        description="text to vector",
        function_type=FunctionType.TEXTEMBEDDING,
        input_field_names=["document"],
        output_field_names=["dense"],
        params=params or V4,
    )


def create(
    client: MilvusClient,
    name: str,
    *,
    function: Function | None = None,
    dimension: int = 1024,
    more: Callable[[object, object], None] | None = None,
) -> None:
    """Create a collection whose `dense` is filled from its `document`."""
    schema = client.create_schema(description="test documents")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=65535, description="what is said")
    schema.add_field("note", DataType.VARCHAR, max_length=50, nullable=True)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimension)
    schema.add_function(function or embedding())
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    if more:
        more(schema, index)
    client.create_collection(name, schema=schema, index_params=index)


def insert_texts(client: MilvusClient, name: str) -> None:
    """Insert all texts, with ids from 0."""
    client.insert(name, [{"id": i, "document": text} for i, text in enumerate(TEXTS)])


def vectors_of(client: MilvusClient, name: str, *ids: int) -> np.ndarray:
    """Read stored vectors, in the order of the ids, shape ``(ids, dimension)``."""
    rows = client.get(name, ids=list(ids), output_fields=["id", "dense"])
    found = {row["id"]: row["dense"] for row in rows}
    return np.asarray([found[i] for i in ids], dtype=np.float32)


def test_described_function_is_complete(client: MilvusClient, name: str) -> None:
    """A client reads back what it created, with ids, marks and descriptions."""
    create(client, name)
    description = client.describe_collection(name)
    (function,) = description["functions"]
    assert function["name"] == "embed"
    assert function["description"] == "text to vector"
    assert function["params"] == V4
    assert (function["input_field_names"], function["output_field_names"]) == (
        ["document"],
        ["dense"],
    )
    assert function["id"] == 100
    assert description["description"] == "test documents"
    fields = {field["name"]: field for field in description["fields"]}
    assert fields["dense"]["is_function_output"]
    assert fields["document"]["description"] == "what is said"
    assert description["update_timestamp"] > 0
    assert "milvane.functions" not in description["properties"]


def test_question_finds_its_answer(client: MilvusClient, name: str) -> None:
    """Raw text in, raw question, nearest text out."""
    create(client, name)
    insert_texts(client, name)
    for question, expected in (("a pet at the window", 0), ("space travel", 3), ("bakery", 2)):
        (hits,) = client.search(name, [question], anns_field="dense", limit=2)
        assert hits[0]["id"] == expected


def test_stored_vector_is_the_texts_own(client: MilvusClient, name: str) -> None:
    """A text searched for itself has a similarity of one."""
    create(client, name)
    insert_texts(client, name)
    results = client.search(name, TEXTS, anns_field="dense", limit=1)
    for i, hits in enumerate(results):
        assert hits[0]["id"] == i
        assert hits[0]["distance"] == pytest.approx(1.0, abs=2e-3)


def test_ready_made_vector_searches_a_function_field(client: MilvusClient, name: str) -> None:
    """A client that has a vector may search with it."""
    create(client, name)
    insert_texts(client, name)
    vector = vectors_of(client, name, 1)[0].tolist()
    (hits,) = client.search(name, [vector], anns_field="dense", limit=1)
    assert hits[0]["id"] == 1


@pytest.mark.parametrize(
    ("model", "dimension", "params"),
    [
        ("text-embedding-v4", 64, {"dim": "64"}),
        ("text-embedding-v4", 2048, {"dim": "2048"}),
        ("text-embedding-v3", 1024, {}),
        ("text-embedding-v3", 512, {"dim": "512"}),
        ("text-embedding-v2", 1536, {}),
        ("text-embedding-v1", 1536, {}),
    ],
)
def test_every_model_fills_its_dimension(
    client: MilvusClient, name: str, model: str, dimension: int, params: dict[str, str]
) -> None:
    """Each model gives unit vectors of the dimension that is asked for."""
    function = embedding(provider="aliyun_milvus", model_name=model, **params)
    create(client, name, function=function, dimension=dimension)
    insert_texts(client, name)
    vectors = vectors_of(client, name, 0, 1, 2, 3)
    assert vectors.shape == (4, dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    (hits,) = client.search(name, ["space travel"], anns_field="dense", limit=1)
    assert hits[0]["id"] == 3


def test_upsert_embeds_the_new_text(client: MilvusClient, name: str) -> None:
    """The vector follows its text, and there is one row."""
    create(client, name)
    insert_texts(client, name)
    client.upsert(name, [{"id": 1, "document": TEXTS[3], "note": "changed"}])
    before, after = vectors_of(client, name, 3, 1)
    np.testing.assert_allclose(after, before, atol=2e-3)
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == len(TEXTS)


def test_partial_update_without_text_keeps_the_vector(client: MilvusClient, name: str) -> None:
    """Nothing is embedded when the text is not part of the change."""
    create(client, name)
    insert_texts(client, name)
    (before,) = vectors_of(client, name, 2)
    client.upsert(name, [{"id": 2, "note": "only this"}], partial_update=True)
    np.testing.assert_array_equal(vectors_of(client, name, 2)[0], before)
    (row,) = client.get(name, ids=[2], output_fields=["document", "note"])
    assert (row["document"], row["note"]) == (TEXTS[2], "only this")


def test_partial_update_with_text_embeds_it(client: MilvusClient, name: str) -> None:
    """A changed text changes its vector, and leaves the other fields."""
    create(client, name)
    client.insert(name, [{"id": 1, "document": TEXTS[0], "note": "stays"}])
    client.upsert(name, [{"id": 1, "document": TEXTS[1]}], partial_update=True)
    (hits,) = client.search(name, [TEXTS[1]], "", 1, ["note"], anns_field="dense")
    assert hits[0]["distance"] == pytest.approx(1.0, abs=2e-3)
    assert hits[0]["entity"]["note"] == "stays"


def with_bm25(schema: object, index: object) -> None:
    """Add a BM25 function on the same text, which the upstream runs."""
    schema.fields[1].params["enable_analyzer"] = True
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["document"], ["sparse"]))
    index.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")


def test_one_text_feeds_dense_and_bm25(client: MilvusClient, name: str) -> None:
    """Hybrid search takes the same question for both, and each part is embedded by its owner."""
    create(client, name, more=with_bm25)
    insert_texts(client, name)
    names = [function["name"] for function in client.describe_collection(name)["functions"]]
    assert names == ["embed", "bm25"]
    parts = [
        AnnSearchRequest(["space travel"], "dense", {"metric_type": "COSINE"}, limit=3),
        AnnSearchRequest(["orbit around Mars"], "sparse", {"metric_type": "BM25"}, limit=3),
    ]
    (hits,) = client.hybrid_search(name, parts, RRFRanker(), limit=2)
    assert hits[0]["id"] == 3


def test_places_in_filters_are_filled(client: MilvusClient, name: str) -> None:
    """Searches of one field and of several, queries and deletions take values beside the filter."""
    create(client, name, more=with_bm25)
    insert_texts(client, name)
    values = {"ids": [0, 1]}
    question = ["space travel"]
    (hits,) = client.search(
        name, question, anns_field="dense", filter="id in {ids}", filter_params=values
    )
    assert {hit["id"] for hit in hits} == {0, 1}
    part = AnnSearchRequest(
        question, "dense", {"metric_type": "COSINE"}, 4, expr="id in {ids}", expr_params=values
    )
    (hits,) = client.hybrid_search(name, [part], RRFRanker(), limit=4)
    assert {hit["id"] for hit in hits} == {0, 1}
    text = {"text": TEXTS[2]}
    (row,) = client.query(name, "document == {text}", output_fields=["id"], filter_params=text)
    assert row["id"] == 2
    client.delete(name, filter="id in {ids}", filter_params=values)
    assert [row["id"] for row in client.query(name, "id >= 0", output_fields=["id"])] == [2, 3]
    with pytest.raises(MilvusException, match="is not found"):
        client.query(name, "id == {other}", filter_params=values)


def test_alias_and_new_name_keep_the_function(client: MilvusClient, name: str) -> None:
    """A collection is the same by whatever name it is called."""
    create(client, name)
    insert_texts(client, name)
    client.create_alias(name, f"{name}_also")
    (hits,) = client.search(f"{name}_also", ["bakery"], anns_field="dense", limit=1)
    assert hits[0]["id"] == 2
    client.drop_alias(f"{name}_also")
    client.rename_collection(name, f"{name}_new")
    (hits,) = client.search(f"{name}_new", ["bakery"], anns_field="dense", limit=1)
    assert hits[0]["id"] == 2
    assert client.describe_collection(f"{name}_new")["functions"][0]["name"] == "embed"


def test_recreated_collection_is_another_one(client: MilvusClient, name: str) -> None:
    """A client with an old schema in its memory refreshes it instead of writing nonsense."""
    create(client, name)
    insert_texts(client, name)
    other = MilvusClient(uri=client._config.uri)
    other.drop_collection(name)
    create(
        other,
        name,
        function=embedding(provider="aliyun_milvus", model_name="text-embedding-v3", dim="256"),
        dimension=256,
    )
    insert_texts(client, name)
    assert vectors_of(other, name, 0).shape == (1, 256)
    other.close()


def test_database_keeps_its_collections_apart(client: MilvusClient, name: str) -> None:
    """Two databases may have collections of one name with different functions."""
    client.create_database(f"db_{name}")
    create(client, name)
    second = MilvusClient(uri=client._config.uri, db_name=f"db_{name}")
    v2 = embedding(provider="aliyun_milvus", model_name="text-embedding-v2")
    create(second, name, function=v2, dimension=1536)
    insert_texts(client, name)
    insert_texts(second, name)
    assert vectors_of(client, name, 0).shape == (1, 1024)
    assert vectors_of(second, name, 0).shape == (1, 1536)
    second.close()


@pytest.mark.filterwarnings("ignore:.*ORM-style")
def test_orm_creates_inserts_and_searches(server: MilvaneProcess, client: MilvusClient) -> None:
    """The older interface takes raw text as well, in columns."""
    create(client, "orm_texts")
    connections.connect(alias="orm", uri=server.grpc_uri)
    collection = Collection("orm_texts", using="orm")
    collection.insert([list(range(4)), TEXTS, [None] * 4])
    (hits,) = collection.search(["space travel"], "dense", {"metric_type": "COSINE"}, limit=1)
    assert hits.ids == [3]
    connections.disconnect("orm")


def test_long_text_is_embedded_whole(client: MilvusClient, name: str) -> None:
    """The end of a text far beyond one window counts."""
    create(client, name)
    padding = "The committee met and discussed the agenda at length. " * 60
    rows = [
        {"id": 1, "document": padding + "Finally, a volcano erupted. " * 40},
        {"id": 2, "document": padding + "Finally, the goalkeeper scored. " * 40},
    ]
    client.insert(name, rows)
    first, second = vectors_of(client, name, 1, 2)
    assert float(first @ second) < 0.97
    (hits,) = client.search(name, ["volcanic eruption"], anns_field="dense", limit=1)
    assert hits[0]["id"] == 1


REFUSED_ROWS = [
    ({"id": 9, "document": ""}, "there is an empty string in the input data"),
    ({"id": 9, "document": "word " * 9000}, "takes at most 8192"),
]


@pytest.mark.parametrize(("row", "message"), REFUSED_ROWS, ids=["empty", "too long"])
def test_bad_row_is_refused_whole(
    client: MilvusClient, name: str, row: dict[str, object], message: str
) -> None:
    """The refusal names function, field and row, and no row of the request is stored."""
    create(client, name)
    with pytest.raises(MilvusException) as caught:
        client.insert(name, [{"id": 8, "document": "good"}, row])
    assert message in caught.value.message
    assert "function embed, field document, row 1" in caught.value.message
    assert caught.value.code == 65535
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 0


def test_text_of_ten_megabytes_is_refused(client: MilvusClient, name: str) -> None:
    """In a row and as a question, by its length; and the next ones are served."""
    create(client, name)
    large = "word " * 2_000_000
    with pytest.raises(MilvusException, match="field document exceeds max length, row number: 1"):
        client.insert(name, [{"id": 8, "document": "good"}, {"id": 9, "document": large}])
    with pytest.raises(MilvusException, match="takes at most 8192"):
        client.search(name, [large], anns_field="dense", limit=1)
    insert_texts(client, name)
    (hits,) = client.search(name, [TEXTS[1]], anns_field="dense", limit=1)
    assert hits[0]["id"] == 1


def test_ten_thousand_rows_at_once_are_embedded(client: MilvusClient, name: str) -> None:
    """A write of many rows is one write, and each row has its own text's vector."""
    create(client, name, function=embedding(**V4 | {"dim": "64"}), dimension=64)
    rows = [{"id": at, "document": TEXTS[at % len(TEXTS)]} for at in range(10_000)]
    client.insert(name, rows)
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 10_000
    places = [at * 997 for at in range(10)]
    stored = vectors_of(client, name, *places, *(at % len(TEXTS) for at in places))
    np.testing.assert_array_equal(stored[:10], stored[10:])


@pytest.mark.parametrize("text", ["a\0b", "\0"])
def test_text_with_a_nul_byte_is_stored_and_found(
    client: MilvusClient, name: str, text: str
) -> None:
    """A byte that ends strings elsewhere is a character like others."""
    create(client, name)
    client.insert(name, [{"id": 1, "document": text}, {"id": 2, "document": TEXTS[0]}])
    [row] = client.get(name, ids=[1], output_fields=["document"])
    assert row["document"] == text
    (hits,) = client.search(name, [text], anns_field="dense", limit=1)
    assert hits[0]["id"] == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"provider": "nobody", "model_name": "x"}, "unsupported text embedding service provider"),
        ({"provider": "aliyun_milvus", "model_name": "x"}, "unsupported embedding model: [x]"),
        (V4 | {"dim": "512"}, "does not match the dimension [512] provided in Function params."),
        (
            {"provider": "aliyun_milvus", "model_name": "text-embedding-v2"},
            "the required embedding dim is [1024], but the embedding obtained from the model is "
            "[1536]",
        ),
    ],
)
def test_bad_function_creates_nothing(
    client: MilvusClient, name: str, params: dict[str, str], message: str
) -> None:
    """A function that cannot work is refused at creation, by its name."""
    with pytest.raises(MilvusException) as caught:
        create(client, name, function=embedding(**params))
    assert message in caught.value.message
    assert "[embed:TextEmbedding]" in caught.value.message
    assert not client.has_collection(name)


def test_empty_question_is_refused(client: MilvusClient, name: str) -> None:
    """An empty query text has no meaning to search for."""
    create(client, name)
    with pytest.raises(MilvusException, match="there is an empty string in the queries"):
        client.search(name, ["good", ""], anns_field="dense", limit=1)


def test_missing_collection_is_told_in_milvus_words(client: MilvusClient) -> None:
    """Code 100 and the words that clients look for."""
    with pytest.raises(MilvusException, match="collection not found") as caught:
        client.search("absent", ["question"], anns_field="dense", limit=1)
    assert caught.value.code == 100


def test_text_on_a_plain_vector_field_is_refused(client: MilvusClient, name: str) -> None:
    """Without a function nobody knows what a text means there."""
    client.create_collection(name, dimension=8)
    with pytest.raises(MilvusException, match="requires a TEXT_EMBEDDING function") as caught:
        client.search(name, ["question"], anns_field="vector", limit=1)
    assert caught.value.code == 6


def test_brought_output_vector_is_refused(
    server: MilvaneProcess, client: MilvusClient, name: str
) -> None:
    """A vector for a function's output is not taken from a client that crafts its own request."""
    create(client, name)
    request = milvus_pb2.InsertRequest(collection_name=name, num_rows=1)
    request.fields_data.add(
        field_name="id", type=schema_pb2.DataType.Int64
    ).scalars.long_data.data.append(1)
    request.fields_data.add(
        field_name="document", type=schema_pb2.DataType.VarChar
    ).scalars.string_data.data.append("text")
    vector = request.fields_data.add(field_name="dense", type=schema_pb2.DataType.FloatVector)
    vector.vectors.dim = 1024
    vector.vectors.float_vector.data.extend([0.0] * 1024)
    with grpc.insecure_channel(server.grpc_uri.removeprefix("http://")) as channel:
        reply = milvus_pb2_grpc.MilvusServiceStub(channel).Insert(request)
    assert "Insert data has function output field" in reply.status.reason
    assert "function embed, field dense" in reply.status.reason
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 0


def test_reserved_property_is_refused(client: MilvusClient, name: str) -> None:
    """The property that holds the functions is neither written nor deleted by clients."""
    create(client, name)
    with pytest.raises(MilvusException, match="is reserved"):
        client.alter_collection_properties(name, {"milvane.functions": "{}"})
    with pytest.raises(MilvusException, match="is reserved"):
        client.drop_collection_properties(name, ["milvane.functions"])
    assert client.describe_collection(name)["functions"]


@pytest.mark.filterwarnings("ignore:.*is unsupported by Milvus 3.0")
def test_function_may_be_added_altered_and_dropped(client: MilvusClient, name: str) -> None:
    """A collection with its own vectors gets a model, another one, and none again."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=200)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [{"id": 9, "document": "brought", "dense": [1.0] + [0.0] * 1023}])

    client.add_collection_function(name, embedding())
    insert_texts(client, name)
    (hits,) = client.search(name, ["space travel"], anns_field="dense", limit=1)
    assert hits[0]["id"] == 3
    assert vectors_of(client, name, 9)[0][0] == 1.0, "rows that were there keep their vectors"

    v3 = embedding(provider="aliyun_milvus", model_name="text-embedding-v3")
    client.alter_collection_function(name, "embed", v3)
    (function,) = client.describe_collection(name)["functions"]
    assert function["params"]["model_name"] == "text-embedding-v3"

    client.drop_collection_function(name, "embed")
    assert not client.describe_collection(name)["functions"]
    client.insert(name, [{"id": 10, "document": "brought", "dense": [0.0, 1.0] + [0.0] * 1022}])
    with pytest.raises(MilvusException, match="requires a TEXT_EMBEDDING function"):
        client.search(name, ["question"], anns_field="dense", limit=1)
