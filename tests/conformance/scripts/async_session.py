"""
What an application does with raw text, through the client for event loops.

Run with a URI; prints one JSON object: the client's version, and what each step found.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pymilvus
from pymilvus import (
    AnnSearchRequest,
    AsyncMilvusClient,
    DataType,
    Function,
    FunctionType,
    MilvusException,
    RRFRanker,
)

NAME = "async_demo"
TEXTS = [
    "The cat sleeps on the warm windowsill.",
    "Stock markets fell sharply on Monday.",
    "Fresh bread smells wonderful in the morning.",
    "The spacecraft entered orbit around Mars.",
]


async def create(client: AsyncMilvusClient) -> None:
    """Create a collection whose texts feed an embedding model and BM25."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=9000, enable_analyzer=True)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    model = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=model)
    )
    schema.add_function(Function("bm25", FunctionType.BM25, ["document"], ["sparse"]))
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    index.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    if await client.has_collection(NAME):
        await client.drop_collection(NAME)
    await client.create_collection(NAME, schema=schema, index_params=index)


async def search(client: AsyncMilvusClient, *questions: str) -> list[list[int]]:
    """Find the two nearest rows of each question; all are asked at once."""
    found = await asyncio.gather(
        *(client.search(NAME, [text], anns_field="dense", limit=2) for text in questions)
    )
    return [[hit["id"] for hit in hits] for (hits,) in found]


async def hybrid(client: AsyncMilvusClient) -> list[int]:
    """Rank what the meaning and what the words find."""
    parts = [
        AnnSearchRequest(["space travel"], "dense", {"metric_type": "COSINE"}, limit=3),
        AnnSearchRequest(["orbit around Mars"], "sparse", {"metric_type": "BM25"}, limit=3),
    ]
    (hits,) = await client.hybrid_search(NAME, parts, RRFRanker(), limit=2)
    return [hit["id"] for hit in hits]


async def refused(client: AsyncMilvusClient) -> list[Any]:
    """Insert a row without a word; say how that is refused."""
    try:
        await client.insert(NAME, [{"id": 9, "document": ""}])
    except MilvusException as error:
        return [error.code, error.message]
    return []


async def main(uri: str) -> None:
    """Run all steps, and print what they found."""
    client = AsyncMilvusClient(uri=uri, token="root:Milvus")
    seen: dict[str, Any] = {"version": pymilvus.__version__}
    await create(client)
    rows = [{"id": i, "document": text} for i, text in enumerate(TEXTS)]
    seen["inserted"] = (await client.insert(NAME, rows))["insert_count"]
    seen["search"] = await search(client, "space travel", "bakery", "finance", "a pet")
    seen["hybrid"] = await hybrid(client)
    seen["refused"] = await refused(client)
    await client.upsert(NAME, [{"id": 1, "document": "A rocket flies to the moon."}])
    seen["after upsert"] = sorted((await search(client, "space travel"))[0])
    await client.delete(NAME, ids=[3])
    seen["after delete"] = (await search(client, "space travel"))[0][0]
    await client.drop_collection(NAME)
    await client.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
