"""What people write first: sentence-transformers behind FastAPI. Run with those packages alone."""

from __future__ import annotations

import base64
import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

app = FastAPI()
model = SentenceTransformer(sys.argv[1], device="cpu")


class Body(BaseModel):
    """A request in OpenAI's dialect."""

    model: str
    input: list[str]


@app.post("/v1/embeddings")
def embed(body: Body) -> dict[str, object]:
    """Embed texts; FastAPI runs this in a thread, one for each request."""
    vectors = model.encode(body.input, normalize_embeddings=True, show_progress_bar=False)
    data = [
        {"object": "embedding", "index": index, "embedding": base64.b64encode(vector).decode()}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": body.model}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
