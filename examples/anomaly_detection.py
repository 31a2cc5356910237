"""Find the comments that do not belong."""

import os

import dashscope
import numpy as np

dashscope.base_http_api_url = os.environ.get("MILVANE_URL", "http://127.0.0.1:8080") + "/api/v1"
dashscope.api_key = os.environ.get("DASHSCOPE_API_KEY", "any")

NORMAL = [
    "Today's meeting was very productive",
    "The project is progressing smoothly",
    "The new version will be released next week",
    "We received good feedback from our users",
    "The team fixed the bugs that customers reported",
    "The planning for the next release starts on Monday",
    "The search feature works better than before",
]
COMMENTS = [
    "The feature works as expected",
    "We should test the release before Friday's meeting",
    "asdfghjkl zxcvbnm",
    "Cheap watches, click here to win a prize!!!",
    "The update solved the problem that users had",
]


def embed(texts):
    """Ask for the vectors of some texts."""
    answer = dashscope.TextEmbedding.call(model="text-embedding-v4", input=texts)
    if answer.status_code != 200:
        raise SystemExit(f"{answer.code}: {answer.message}")
    return np.array([item["embedding"] for item in answer.output["embeddings"]])


def main():
    """
    Print each comment with its likeness to the normal ones.

    The threshold comes from the normal comments themselves: three fifths of what they are like the
    mean of the others. Models differ in how alike unrelated texts look, so no number suits all.
    """
    normal = embed(NORMAL)
    others = (normal.sum(axis=0) - normal) / (len(normal) - 1)
    likeness = (normal * others).sum(axis=1) / np.linalg.norm(others, axis=1)
    threshold = likeness.mean() * 0.6
    centre = normal.mean(axis=0)
    scores = embed(COMMENTS) @ (centre / np.linalg.norm(centre))
    print(f"A comment below {threshold:.3f} is an anomaly.")
    for comment, score in zip(COMMENTS, scores, strict=True):
        print(f"{'ANOMALY' if score < threshold else 'normal':<8} {score:.3f}  {comment}")


if __name__ == "__main__":
    main()
