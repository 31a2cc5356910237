"""Sort headlines into groups that nobody has named."""

import os

import dashscope
import numpy as np

dashscope.base_http_api_url = os.environ.get("MILVANE_URL", "http://127.0.0.1:8080") + "/api/v1"
dashscope.api_key = os.environ.get("DASHSCOPE_API_KEY", "any")

HEADLINES = [
    "Phone maker presents a foldable smartphone",
    "World Cup final: Argentina beats France on penalties",
    "Central bank raises interest rates again",
    "Search company opens its new language model",
    "Swimmer wins a third gold medal at the Olympics",
    "Inflation falls to its lowest level in two years",
    "Chip maker announces a faster processor for AI",
    "Home team loses the European championship match",
    "Stock market closes higher after strong bank profits",
    "Laptop with a new graphics chip goes on sale",
    "Tennis player reaches the semi-final in straight sets",
    "Investors sell government bonds as borrowing costs climb",
]


def embed(texts):
    """Ask for the vectors of some texts."""
    answer = dashscope.TextEmbedding.call(model="text-embedding-v4", input=texts, dimension=1024)
    if answer.status_code != 200:
        raise SystemExit(f"{answer.code}: {answer.message}")
    return np.array([item["embedding"] for item in answer.output["embeddings"]])


def cluster(vectors, groups, starts=20, rounds=20):
    """Group unit vectors by k-means on directions; of several starts, the tightest groups win."""
    chance = np.random.default_rng(seed=0)
    best, best_labels = -np.inf, None
    for _ in range(starts):
        centres = vectors[chance.choice(len(vectors), groups, replace=False)]
        for _ in range(rounds):
            labels = (vectors @ centres.T).argmax(axis=1)
            sums = np.array([vectors[labels == group].sum(axis=0) for group in range(groups)])
            centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
        tightness = (vectors @ centres.T).max(axis=1).sum()
        if tightness > best:
            best, best_labels = tightness, labels
    return best_labels


def main():
    """Print the groups."""
    labels = cluster(embed(HEADLINES), groups=3)
    for group in range(3):
        print(f"Group {group + 1}")
        for headline, label in zip(HEADLINES, labels, strict=True):
            if label == group:
                print(f"  {headline}")


if __name__ == "__main__":
    main()
