"""Sparse vectors of embedding functions through a real client and server: one model for hybrid."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import httpx
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

from milvane.testing.servers import MilvaneProcess

DENSE = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
SPARSE = DENSE | {"output_type": "sparse"}
TEXTS = [
    "The cat sleeps on the warm windowsill.",
    "Stock markets fell sharply on Monday.",
    "The HX-4711 valve opens at 3 bar.",
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
def collection(client: MilvusClient) -> str:
    """A collection whose text becomes a dense and a sparse vector of one model."""
    name = f"sparse_{next(numbers)}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=1000)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    schema.add_field("terms", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=DENSE)
    )
    # The client lets a TEXTEMBEDDING function fill dense fields only; see `is_embedding`.
    schema.add_function(
        Function("weigh", FunctionType.BM25, ["document"], ["terms"], params=SPARSE)
    )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    index.add_index("terms", index_type="AUTOINDEX", metric_type="IP")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [{"id": i, "document": text} for i, text in enumerate(TEXTS)])
    return name


def terms_of(client: MilvusClient, name: str, key: int) -> dict[int, float]:
    """Read a stored sparse vector."""
    (row,) = client.get(name, ids=[key], output_fields=["terms"])
    return row["terms"]


def test_described_function_is_what_was_created(client: MilvusClient, collection: str) -> None:
    """The client reads back type and parameters, and the field is marked."""
    description = client.describe_collection(collection)
    dense, sparse = description["functions"]
    assert (dense["params"], sparse["params"]) == (DENSE, SPARSE)
    assert sparse["type"] == FunctionType.BM25
    marks = {field["name"]: field.get("is_function_output") for field in description["fields"]}
    assert marks["terms"]
    assert marks["dense"]


def test_raw_text_finds_the_word(client: MilvusClient, collection: str) -> None:
    """The rarest word of the question decides, not its meaning."""
    (hits,) = client.search(collection, ["HX-4711"], anns_field="terms", limit=2)
    assert hits[0]["id"] == 2
    assert hits[0]["distance"] > 0


def test_stored_vector_searches_like_its_text(client: MilvusClient, collection: str) -> None:
    """A ready-made sparse vector goes on as it is."""
    vector = terms_of(client, collection, 3)
    assert len(vector) > 4
    (hits,) = client.search(collection, [vector], anns_field="terms", limit=1)
    assert hits[0]["id"] == 3
    assert hits[0]["distance"] == pytest.approx(sum(v * v for v in vector.values()), rel=1e-3)


def test_question_is_weighed_as_a_question(client: MilvusClient, collection: str) -> None:
    """A text weighs less as a document, whose length counts, than as a question."""
    vector = terms_of(client, collection, 1)
    (as_document,) = client.search(collection, [vector], anns_field="terms", limit=1)
    (as_question,) = client.search(collection, [TEXTS[1]], anns_field="terms", limit=1)
    assert as_question[0]["id"] == as_document[0]["id"] == 1
    assert as_question[0]["distance"] != pytest.approx(as_document[0]["distance"], rel=1e-3)


def test_hybrid_search_takes_raw_text_for_both(client: MilvusClient, collection: str) -> None:
    """Meaning and words of one model, each ranked first by its own part."""
    parts = [
        AnnSearchRequest(["a pet at the window"], "dense", {"metric_type": "COSINE"}, limit=3),
        AnnSearchRequest(["valve HX-4711"], "terms", {"metric_type": "IP"}, limit=3),
    ]
    (hits,) = client.hybrid_search(collection, parts, RRFRanker(), limit=2)
    assert {hit["id"] for hit in hits} == {0, 2}


def test_upsert_weighs_the_new_text(client: MilvusClient, collection: str) -> None:
    """The sparse vector follows its text, also in a partial update."""
    client.upsert(collection, [{"id": 0, "document": TEXTS[2]}])
    assert terms_of(client, collection, 0) == terms_of(client, collection, 2)
    client.upsert(collection, [{"id": 0, "document": TEXTS[1]}], partial_update=True)
    assert terms_of(client, collection, 0) == terms_of(client, collection, 1)


def test_text_without_words_has_no_terms(client: MilvusClient, collection: str) -> None:
    """Punctuation is stored, and found by nobody."""
    client.insert(collection, [{"id": 8, "document": "...!"}, {"id": 9, "document": "?!"}])
    assert len(terms_of(client, collection, 9)) == 1
    for question in ("?!", "windowsill"):
        (hits,) = client.search(collection, [question], anns_field="terms", limit=9)
        assert not {8, 9} & {hit["id"] for hit in hits if hit["distance"] > 0}


@pytest.mark.filterwarnings("ignore:.*ORM-style")
def test_orm_opens_the_collection(server: MilvaneProcess, collection: str) -> None:
    """The older interface checks the schema that it reads, and takes rows and questions."""
    connections.connect(alias="sparse", uri=server.grpc_uri)
    opened = Collection(collection, using="sparse")
    opened.insert([[7], ["Fresh bread smells wonderful."]])
    (hits,) = opened.search(["bread"], "terms", {"metric_type": "IP"}, limit=1)
    assert hits.ids == [7]
    connections.disconnect("sparse")


@pytest.mark.filterwarnings("ignore:.*is unsupported by Milvus 3.0")
def test_embedding_function_may_be_added_for_a_sparse_field(client: MilvusClient) -> None:
    """What a client does not check it may call by its proper type."""
    name = f"sparse_{next(numbers)}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=1000)
    schema.add_field("terms", DataType.SPARSE_FLOAT_VECTOR)
    index = client.prepare_index_params()
    index.add_index("terms", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection(name, schema=schema, index_params=index)
    weigh = Function("weigh", FunctionType.TEXTEMBEDDING, ["document"], ["terms"], params=SPARSE)
    client.add_collection_function(name, weigh)
    client.insert(name, [{"id": i, "document": text} for i, text in enumerate(TEXTS)])
    (hits,) = client.search(name, ["Mars"], anns_field="terms", limit=1)
    assert hits[0]["id"] == 3
    client.drop_collection_function(name, "weigh")
    assert not client.describe_collection(name)["functions"]


def test_model_without_sparse_vectors_is_refused(client: MilvusClient) -> None:
    """The refusal lists the models that have them."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=1000)
    schema.add_field("terms", DataType.SPARSE_FLOAT_VECTOR)
    params = SPARSE | {"model_name": "text-embedding-v1"}
    schema.add_function(
        Function("weigh", FunctionType.BM25, ["document"], ["terms"], params=params)
    )
    with pytest.raises(MilvusException, match=r"\[text-embedding-v1\] has no sparse vectors"):
        client.create_collection("sparse_never", schema=schema)


def post(server: MilvaneProcess, path: str, body: dict[str, object]) -> object:
    """Call REST v2; return what it answers with."""
    answer = httpx.post(f"{server.grpc_uri}/v2/vectordb/{path}", json=body, timeout=30).json()
    assert answer["code"] == 0, answer
    return answer.get("data")


def test_rest_tells_texts_from_sparse_vectors(server: MilvaneProcess) -> None:
    """A function is declared by its proper type, and the field takes texts and vectors."""
    name = f"sparse_{next(numbers)}"
    fields = [
        {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
        {
            "fieldName": "document",
            "dataType": "VarChar",
            "elementTypeParams": {"max_length": 1000},
        },
        {"fieldName": "terms", "dataType": "SparseFloatVector"},
    ]
    function = {
        "name": "weigh",
        "type": "TextEmbedding",
        "inputFieldNames": ["document"],
        "outputFieldNames": ["terms"],
        "params": SPARSE,
    }
    index = [{"fieldName": "terms", "indexName": "terms", "metricType": "IP"}]
    schema = {"autoId": False, "fields": fields, "functions": [function]}
    post(
        server,
        "collections/create",
        {"collectionName": name, "schema": schema, "indexParams": index},
    )
    rows = [{"id": i, "document": text} for i, text in enumerate(TEXTS)]
    post(server, "entities/insert", {"collectionName": name, "data": rows})
    search = {"collectionName": name, "annsField": "terms", "limit": 1, "outputFields": ["terms"]}
    (by_text,) = post(server, "entities/search", search | {"data": ["Mars"]})
    assert by_text["id"] == 3
    (by_vector,) = post(server, "entities/search", search | {"data": [by_text["terms"]]})
    assert by_vector["id"] == 3
    part = {"data": ["Mars"], "annsField": "terms", "limit": 2}
    hybrid = {
        "collectionName": name,
        "search": [part, part],
        "rerank": {"strategy": "rrf", "params": {"k": 60}},
        "limit": 1,
    }
    (found,) = post(server, "entities/hybrid_search", hybrid)
    assert found["id"] == 3
