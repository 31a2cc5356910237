"""Find the passage that answers a question: by meaning, by words, and by both."""

import os

import dashscope
import numpy as np

dashscope.base_http_api_url = os.environ.get("MILVANE_URL", "http://127.0.0.1:8080") + "/api/v1"
dashscope.api_key = os.environ.get("DASHSCOPE_API_KEY", "any")

PASSAGES = [
    "Artificial intelligence is the branch of computer science that builds machines which reason.",
    "The Great Barrier Reef is the largest coral system in the world.",
    "To reset the router, hold the button on its back for ten seconds.",
    "Error E-4711 means that the water tank is empty; fill it and press start.",
    "Error E-4712 means that the coffee grounds container is full.",
    "Our support team answers calls from nine to five on working days.",
    "Sourdough bread rises with wild yeast instead of the kind from a packet.",
    "Employees may carry over five days of unused holiday into the next year.",
]
QUESTIONS = [
    "What is AI?",
    "How do I restart my internet box?",
    "E-4712",
    "How much vacation can I keep for later?",
]


def embed(texts, text_type):
    """Ask for the dense and the sparse vectors of some texts in one request."""
    answer = dashscope.TextEmbedding.call(
        model="text-embedding-v4", input=texts, text_type=text_type, output_type="dense&sparse"
    )
    if answer.status_code != 200:
        raise SystemExit(f"{answer.code}: {answer.message}")
    embeddings = answer.output["embeddings"]
    dense = np.array([item["embedding"] for item in embeddings])
    sparse = [
        {term["index"]: term["value"] for term in item["sparse_embedding"]} for item in embeddings
    ]
    return dense, sparse


def share_of_words(query, documents):
    """Say how much of a question's words each passage has: 0 for none, about 1 for all."""
    whole = sum(value * value for value in query.values())
    return np.array(
        [
            sum(value * document.get(term, 0) for term, value in query.items()) / whole
            for document in documents
        ]
    )


def main():
    """Answer each question three times."""
    dense_passages, sparse_passages = embed(PASSAGES, "document")
    dense_questions, sparse_questions = embed(QUESTIONS, "query")
    for question, dense, sparse in zip(QUESTIONS, dense_questions, sparse_questions, strict=True):
        by_meaning = dense_passages @ dense
        by_words = share_of_words(sparse, sparse_passages)
        print(question)
        print(f"  by meaning: {PASSAGES[by_meaning.argmax()]}")
        print(f"  by words:   {PASSAGES[by_words.argmax()] if by_words.any() else '-'}")
        print(f"  by both:    {PASSAGES[(by_meaning + by_words).argmax()]}")


if __name__ == "__main__":
    main()
