"""File reviews under labels without any training."""

import os

import numpy as np
from openai import OpenAI

URL = os.environ.get("MILVANE_URL", "http://127.0.0.1:8080")
client = OpenAI(base_url=f"{URL}/compatible-mode/v1", api_key=os.environ.get("API_KEY", "any"))

LABELS = ["Digital Products", "Apparel & Accessories", "Food & Beverage", "Home & Living"]
REVIEWS = [
    "The fabric of this dress is comfortable, and the style is nice",
    "The battery of this laptop lasts all day and the screen is sharp",
    "The coffee arrived fresh and tastes of chocolate and nuts",
    "This sofa fits our living room and is easy to assemble",
    "These sneakers look good but run a size small",
]


def main():
    """Print the label of each review."""
    questions = [f"I bought this in the {label} department" for label in LABELS]
    answer = client.embeddings.create(model="text-embedding-v4", input=REVIEWS + questions)
    vectors = np.array([item.embedding for item in answer.data])
    scores = vectors[: len(REVIEWS)] @ vectors[len(REVIEWS) :].T
    for review, row in zip(REVIEWS, scores, strict=True):
        print(f"{LABELS[row.argmax()]:<22} {row.max():.3f}  {review}")


if __name__ == "__main__":
    main()
