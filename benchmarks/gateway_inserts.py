"""Raw texts into a collection: several clients of pymilvus, each with inserts of many rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from pymilvus import DataType, Function, FunctionType, MilvusClient
from typing_extensions import Self

WRITERS = 4
ROWS = 100
"""Of one insert."""


class Writers:
    """Clients that insert at once."""

    def __init__(self, uri: str, *, dimension: int) -> None:
        self._clients = [MilvusClient(uri=uri) for _ in range(WRITERS)]
        self._ids = count()
        self._create(dimension)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        for client in self._clients:
            client.close()

    def _create(self, dimension: int) -> None:
        schema = MilvusClient.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("text", DataType.VARCHAR, max_length=9000)
        schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimension)
        params = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
        params["dim"] = str(dimension)
        schema.add_function(
            Function("embed", FunctionType.TEXTEMBEDDING, ["text"], ["dense"], params=params)
        )
        index = MilvusClient.prepare_index_params()
        index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
        self._clients[0].create_collection("texts", schema=schema, index_params=index)

    def insert(self, contents: Sequence[str]) -> float:
        """Insert texts; returns the seconds until all are acknowledged."""
        rows = [{"id": next(self._ids), "text": content} for content in contents]
        parts = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
        waiting = list(reversed(parts))

        def write(client: MilvusClient) -> None:
            while waiting:
                client.insert("texts", waiting.pop())

        begun = time.perf_counter()
        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(write, self._clients))
        return time.perf_counter() - begun
