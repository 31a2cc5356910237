"""
Text-to-text search with pymilvus: insert raw texts, ask a question, get the nearest texts.

Run it against any Milvane server: ``python example_text_search.py http://127.0.0.1:19530``. The
texts and the question are those of the first example in the public documentation of the hosted
service whose interface Milvane has.
"""

from __future__ import annotations

import sys

from pymilvus import DataType, Function, FunctionType, MilvusClient

TEXTS = [
    "A vector database converts text into high-dimensional vectors for semantic search, "
    "understanding the true intent of queries.",
    "Deep learning models learn feature representations from large image datasets for "
    "tasks such as image classification and object detection.",
    "Retrieval-augmented generation recalls relevant documents to provide external "
    "knowledge for large language models, reducing hallucinations and improving answer "
    "reliability.",
    "In customer service scenarios, semantic search can quickly locate historical "
    "tickets, improving first-response efficiency and resolution rates.",
    "Similarity search commonly uses cosine distance to measure vector direction "
    "proximity, suitable for text semantic matching tasks.",
    "Data cleaning is a critical step before vectorization; denoising and format "
    "standardization significantly improve recall quality.",
    "Higher embedding dimensions are not always better; you need to balance "
    "effectiveness, latency, and storage cost.",
    "Chunking strategies that split long documents into small segments can improve search "
    "hit rates and reduce context redundancy.",
    "Adding a source field to each piece of knowledge aids result explainability, making "
    "it easy to display citation evidence on the frontend.",
    "Multilingual search leverages a unified vector space for cross-language matching, "
    "enhancing the experience of internationalized systems.",
    "Index parameters such as ef and M affect the recall rate and query performance of "
    "HNSW and need to be tuned based on your business requirements.",
    "Running offline evaluations before going live can quantify differences in search "
    "quality across different models and parameter combinations.",
    "Metadata filtering in a vector database can be combined with semantic recall for "
    "more precise scoped search.",
    "For high-frequency queries, caching search results briefly can reduce backend "
    "computation pressure and response time.",
    "A semantic search pipeline should log queries to facilitate analysis of zero-result "
    "queries and continuous optimization of the knowledge base.",
    "When knowledge content updates frequently, incremental indexing strategies can "
    "reduce the resource consumption of full rebuilds.",
    "Adding a reranking model in a Q&A system can improve the relevance and readability "
    "of the top results.",
    "Establishing access control policies for sensitive data is a fundamental security "
    "requirement for enterprise-grade vector search systems.",
    "Setting topK appropriately balances coverage and noise, avoiding the return of too "
    "many low-relevance results.",
    "Feeding user feedback back into the training and evaluation pipeline can "
    "continuously improve overall search and Q&A performance.",
]
QUESTION = "What is semantic search? How does a vector database work?"
COLLECTION = "demo"


def create_collection(client: MilvusClient) -> None:
    """Bind a model to a text field: the server fills the vector field from it."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True, auto_id=False)
    schema.add_field("document", DataType.VARCHAR, max_length=9000)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    schema.add_function(
        Function(
            name="embed_document",
            function_type=FunctionType.TEXTEMBEDDING,
            input_field_names=["document"],
            output_field_names=["dense"],
            params={"provider": "aliyun_milvus", "model_name": "text-embedding-v4"},
        )
    )
    index = client.prepare_index_params()
    index.add_index(field_name="dense", index_type="AUTOINDEX", metric_type="COSINE")
    client.drop_collection(COLLECTION)
    client.create_collection(collection_name=COLLECTION, schema=schema, index_params=index)


def main(uri: str) -> None:
    """Run the example against the server at `uri`."""
    client = MilvusClient(uri=uri)
    create_collection(client)
    print(f"Inserting {len(TEXTS)} raw texts ...")
    rows = [{"id": number, "document": text} for number, text in enumerate(TEXTS, start=1)]
    client.insert(COLLECTION, rows)
    print(f"Searching: {QUESTION}\n")
    results = client.search(
        collection_name=COLLECTION,
        data=[QUESTION],
        anns_field="dense",
        limit=3,
        output_fields=["document"],
    )
    for hit in results[0]:
        document = hit["entity"]["document"][:80]
        print(f"  id={hit['id']}, distance={hit['distance']:.4f}, document={document}")
    client.drop_collection(COLLECTION)
    client.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:19530")
