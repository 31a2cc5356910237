"""Haystack's Milvus store: vectors of the same server's HTTP API, and BM25 from raw text."""

from __future__ import annotations

import pytest
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from milvus_haystack import MilvusDocumentStore
from milvus_haystack.function import BM25BuiltInFunction
from milvus_haystack.milvus_embedding_retriever import (
    MilvusEmbeddingRetriever,
    MilvusHybridRetriever,
    MilvusSparseEmbeddingRetriever,
)

CLIENT = "milvus-haystack"


@pytest.fixture
def settings(http_url: str) -> dict[str, object]:
    """Return what points an embedder at the server: this store takes no vectors from Milvus."""
    key = Secret.from_token("any")
    return {"api_base_url": f"{http_url}/v1", "api_key": key, "model": "text-embedding-v4"}


def test_documents_are_written_found_and_deleted(
    grpc_uri: str, name: str, settings: dict[str, object], texts: list[str]
) -> None:
    """Creates a collection, writes, searches by meaning, by raw words and by both, deletes."""
    store = MilvusDocumentStore(
        collection_name=name,
        connection_args={"uri": grpc_uri},
        sparse_vector_field="sparse",
        builtin_function=[
            BM25BuiltInFunction(input_field_names="text", output_field_names="sparse")
        ],
    )
    documents = OpenAIDocumentEmbedder(**settings, progress_bar=False).run(
        documents=[Document(id=str(i), content=text) for i, text in enumerate(texts)]
    )["documents"]
    assert store.write_documents(documents) == 4
    assert store.count_documents() == 4
    words = "space travel around Mars"
    vector = OpenAITextEmbedder(**settings).run(text=words)["embedding"]
    dense = MilvusEmbeddingRetriever(store, top_k=2).run(query_embedding=vector)
    assert dense["documents"][0].content == texts[3]
    sparse = MilvusSparseEmbeddingRetriever(store, top_k=1).run(query_text=words)
    assert sparse["documents"][0].content == texts[3]
    both = MilvusHybridRetriever(store, top_k=2).run(query_embedding=vector, query_text=words)
    assert both["documents"][0].content == texts[3]
    store.delete_documents(["3"])
    left = MilvusEmbeddingRetriever(store, top_k=4).run(query_embedding=vector)["documents"]
    assert texts[3] not in [document.content for document in left]
