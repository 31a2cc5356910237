"""llama-index's Milvus store: vectors of the same server's HTTP API, and BM25 from raw text."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.vector_stores.milvus import MilvusVectorStore
from llama_index.vector_stores.milvus.utils import BM25BuiltInFunction
from pymilvus import MilvusClient

CLIENT = "llama-index-vector-stores-milvus"


@pytest.fixture
def model(http_url: str) -> OpenAILikeEmbedding:
    """Return the embeddings that fill the dense field: this client takes none from Milvus."""
    return OpenAILikeEmbedding(
        model_name="text-embedding-v4", api_base=f"{http_url}/v1", api_key="any"
    )


def store(uri: str, name: str, *, asynchronous: bool = False) -> MilvusVectorStore:
    """Open a store with a dense field and a BM25 field."""
    return MilvusVectorStore(
        uri=uri,
        collection_name=name,
        dim=1024,
        similarity_metric="COSINE",
        enable_sparse=True,
        sparse_embedding_function=BM25BuiltInFunction(),
        use_async_client=asynchronous,
    )


def nodes(model: OpenAILikeEmbedding, texts: list[str]) -> list[TextNode]:
    """Make a node of each text, with its vector."""
    vectors = model.get_text_embedding_batch(texts)
    return [
        TextNode(id_=str(i), text=text, embedding=vector)
        for i, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]


def question(model: OpenAILikeEmbedding, mode: VectorStoreQueryMode) -> VectorStoreQuery:
    """Ask about space."""
    words = "space travel around Mars"
    return VectorStoreQuery(
        query_str=words,
        query_embedding=model.get_query_embedding(words),
        similarity_top_k=2,
        mode=mode,
    )


def test_nodes_are_added_found_and_deleted(
    grpc_uri: str, name: str, model: OpenAILikeEmbedding, texts: list[str]
) -> None:
    """Creates a collection, adds, searches by meaning, by raw words and by both, deletes."""
    milvus = store(grpc_uri, name)
    assert milvus.add(nodes(model, texts)) == ["0", "1", "2", "3"]
    for mode in (
        VectorStoreQueryMode.DEFAULT,
        VectorStoreQueryMode.SPARSE,
        VectorStoreQueryMode.HYBRID,
    ):
        assert milvus.query(question(model, mode)).ids[0] == "3"
    assert [node.text for node in milvus.get_nodes(node_ids=["2"])] == [texts[2]]
    milvus.delete_nodes(["3"])
    assert "3" not in milvus.query(question(model, VectorStoreQueryMode.DEFAULT)).ids


def test_node_that_is_there_is_replaced(
    grpc_uri: str, name: str, model: OpenAILikeEmbedding, texts: list[str]
) -> None:
    """Upserts: a node of the same id takes the place of the old one."""
    milvus = MilvusVectorStore(
        uri=grpc_uri,
        collection_name=name,
        dim=1024,
        similarity_metric="COSINE",
        upsert_mode=True,
        use_async_client=False,
    )
    milvus.add(nodes(model, texts))
    milvus.add(nodes(model, ["A rocket flies to the moon."]))
    found = milvus.query(question(model, VectorStoreQueryMode.DEFAULT))
    assert sorted(found.ids) == ["0", "3"]


def test_asynchronous_calls_do_the_same(
    grpc_uri: str, name: str, model: OpenAILikeEmbedding, texts: list[str]
) -> None:
    """Adds, searches and deletes on an event loop."""

    async def session() -> list[list[str]]:
        milvus = store(grpc_uri, name, asynchronous=True)
        await milvus.async_add(nodes(model, texts))
        asked = question(model, VectorStoreQueryMode.HYBRID)
        first = await milvus.aquery(asked)
        await milvus.adelete_nodes(["3"])
        return [first.ids, (await milvus.aquery(asked)).ids]

    first, second = asyncio.run(session())
    assert first[0] == "3"
    assert "3" not in second


def test_collection_filled_by_a_function_is_searched(
    grpc_uri: str, name: str, model: OpenAILikeEmbedding, texts: list[str]
) -> None:
    """Searches a collection whose vectors the server made of raw text."""
    client = MilvusClient(uri=grpc_uri)
    fill_with_functions(client, name, texts)
    milvus = MilvusVectorStore(
        uri=grpc_uri,
        collection_name=name,
        dim=1024,
        similarity_metric="COSINE",
        text_key="text",
        output_fields=["text"],
        use_async_client=False,
    )
    found = milvus.query(question(model, VectorStoreQueryMode.DEFAULT))
    assert found.ids[0] == "3"
    assert found.nodes[0].text == texts[3]


def fill_with_functions(client: MilvusClient, name: str, texts: list[str]) -> None:
    """Insert raw text with a plain client."""
    from pymilvus import DataType, Function, FunctionType

    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("text", DataType.VARCHAR, max_length=9000)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=1024)
    schema.add_function(
        Function(
            "embed",
            FunctionType.TEXTEMBEDDING,
            ["text"],
            ["embedding"],
            params={"provider": "aliyun_milvus", "model_name": "text-embedding-v4"},
        )
    )
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [{"id": str(i), "text": text} for i, text in enumerate(texts)])
