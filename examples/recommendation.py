"""Recommend films like those that somebody has liked."""

import os

import numpy as np
from openai import OpenAI

URL = os.environ.get("MILVANE_URL", "http://127.0.0.1:8080")
client = OpenAI(base_url=f"{URL}/compatible-mode/v1", api_key=os.environ.get("API_KEY", "any"))

LIKED = [
    "A lonely astronaut repairs a space station while her oxygen runs out.",
    "Settlers on Mars discover that an old machine under the ice is still running.",
    "A starship crew negotiates with a civilization that lives in a gas giant.",
]
FILMS = {
    "Red Dust": "Engineers race to save a colony on a distant planet from a failing reactor.",
    "The Last Signal": "A radio telescope receives a message from another galaxy.",
    "Orbit": "Two rival pilots must share the last shuttle back to Earth.",
    "Wedding in Verona": "Two families quarrel over the seating plan and fall in love.",
    "The Baker's Daughter": "A young woman saves her village's bakery from a supermarket chain.",
    "Knights of the North": "A medieval king defends his castle against raiders from the sea.",
    "Penalty": "A retired footballer coaches a school team to the final.",
}


def embed(texts):
    """Ask for the vectors of some texts."""
    answer = client.embeddings.create(model="text-embedding-v4", input=texts, dimensions=512)
    return np.array([item.embedding for item in answer.data])


def main():
    """Print the films, the most fitting first."""
    taste = embed(LIKED).mean(axis=0)
    scores = embed(list(FILMS.values())) @ (taste / np.linalg.norm(taste))
    for score, title in sorted(zip(scores, FILMS, strict=True), reverse=True):
        print(f"{score:.3f}  {title}")


if __name__ == "__main__":
    main()
