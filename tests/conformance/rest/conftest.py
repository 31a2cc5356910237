"""Clients of REST v2, on the port that gRPC clients use."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from milvane.testing.servers import MilvaneProcess
from rest_collections import Post

numbers = count()


@pytest.fixture
def http(server: MilvaneProcess) -> Iterator[httpx.Client]:
    """A connection to the Milvus port."""
    with httpx.Client(base_url=server.grpc_uri, timeout=30) as client:
        yield client


@pytest.fixture
def post(http: httpx.Client) -> Post:
    """Call a path with a body; return the whole answer."""

    def call(path: str, headers: dict[str, str] | None = None, **body: object) -> dict[str, Any]:
        reply = http.post(f"/v2/vectordb/{path}", json=body, headers=headers)
        assert reply.status_code == 200
        return reply.json()

    return call


@pytest.fixture
def name(post: Post) -> Iterator[str]:
    """A collection name that nobody else uses; what is called so is gone in the end."""
    name = f"rest_{next(numbers)}"
    yield name
    for collection in post("collections/list")["data"]:
        if collection.startswith(name):
            post("collections/drop", collectionName=collection)
