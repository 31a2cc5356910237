"""LangChain's vector store: the server embeds what it is given."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.documents import Document
from langchain_milvus import BM25BuiltInFunction, Milvus
from langchain_milvus.function import TextEmbeddingBuiltInFunction
from pymilvus import MilvusException

CLIENT = "langchain-milvus"


def store(uri: str, name: str, **more: object) -> Milvus:
    """Open a store whose collection has an embedding function, and BM25."""
    return Milvus(
        embedding_function=None,
        builtin_function=[
            TextEmbeddingBuiltInFunction(
                input_field_names="text",
                output_field_names="dense",
                dim=1024,
                params={"provider": "aliyun_milvus", "model_name": "text-embedding-v4"},
            ),
            BM25BuiltInFunction(input_field_names="text", output_field_names="sparse"),
        ],
        vector_field=["dense", "sparse"],
        collection_name=name,
        connection_args={"uri": uri},
        **more,
    )


def test_raw_text_is_added_found_and_deleted(grpc_uri: str, name: str, texts: list[str]) -> None:
    """Creates a collection, adds raw text, ranks it by meaning and words, deletes."""
    milvus = store(grpc_uri, name)
    ids = milvus.add_texts(
        texts, metadatas=[{"about": topic} for topic in "abcd"], ids=list("0123")
    )
    assert ids == list("0123")
    found = milvus.similarity_search("space travel around Mars", k=2, ranker_type="rrf")
    assert found[0].page_content == texts[3]
    assert found[0].metadata["about"] == "d"
    weighted = milvus.similarity_search_with_score(
        "bakery", k=1, ranker_type="weighted", ranker_params={"weights": [0.9, 0.1]}
    )
    assert weighted[0][0].page_content == texts[2]
    picked = milvus.similarity_search("space", k=4, expr='about in ["a", "b"]')
    assert {document.metadata["about"] for document in picked} == {"a", "b"}
    milvus.delete(ids=["3"])
    left = milvus.similarity_search("space travel around Mars", k=4)
    assert texts[3] not in [document.page_content for document in left]


def test_dense_function_alone_is_searched(grpc_uri: str, name: str, texts: list[str]) -> None:
    """Searches one field that a function fills, with the question as it stands."""
    milvus = Milvus.from_texts(
        texts,
        embedding=None,
        builtin_function=TextEmbeddingBuiltInFunction(
            input_field_names="text",
            output_field_names="vector",
            dim=512,
            params={"provider": "aliyun_milvus", "model_name": "text-embedding-v4", "dim": "512"},
        ),
        collection_name=name,
        connection_args={"uri": grpc_uri},
        auto_id=True,
    )
    scored = milvus.similarity_search_with_score("space travel", k=2)
    assert scored[0][0].page_content == texts[3]
    assert scored[0][1] > scored[1][1]


def test_upsert_embeds_the_new_text(grpc_uri: str, name: str, texts: list[str]) -> None:
    """Upserts raw text: the vector follows."""
    milvus = store(grpc_uri, name)
    milvus.add_texts(texts, ids=list("0123"))
    milvus.upsert(ids=["1"], documents=[Document("A rocket flies to the moon.")])
    found = milvus.similarity_search("space travel", k=2)
    assert {document.page_content for document in found} == {
        texts[3],
        "A rocket flies to the moon.",
    }


def test_asynchronous_calls_do_the_same(grpc_uri: str, name: str, texts: list[str]) -> None:
    """Adds, searches and deletes on an event loop."""

    async def session() -> tuple[str, str]:
        milvus = store(grpc_uri, name)
        await milvus.aadd_texts(texts, ids=list("0123"))
        first = (await milvus.asimilarity_search("space travel", k=1))[0].page_content
        await milvus.adelete(ids=["3"])
        second = (await milvus.asimilarity_search("space travel", k=1))[0].page_content
        return first, second

    first, second = asyncio.run(session())
    assert first == texts[3]
    assert second != texts[3]


def test_refusal_is_a_milvus_exception(grpc_uri: str, name: str) -> None:
    """Shows the server's refusal of an empty text as the client's own exception."""
    with pytest.raises(MilvusException, match="empty string"):
        store(grpc_uri, name).add_texts(["something", ""], ids=["0", "1"])
