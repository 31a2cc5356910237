"""Collections that tests of REST make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

V4 = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4"}
TEXTS = [
    "The cat sleeps on the warm windowsill.",
    "Stock markets fell sharply on Monday.",
    "Fresh bread smells wonderful in the morning.",
    "The spacecraft entered orbit around Mars.",
]
Post = Callable[..., dict[str, Any]]


def embedding(**params: str) -> dict[str, object]:
    """Write the function that fills `dense` from `document`."""
    return {
        "name": "embed",
        "type": "TextEmbedding",
        "inputFieldNames": ["document"],
        "outputFieldNames": ["dense"],
        "params": params or V4,
    }


def create(post: Post, name: str, **settings: object) -> None:
    """Create a collection with an embedding function and BM25, index it and load it."""
    text = {"max_length": 9000, "enable_analyzer": True}
    answer = post(
        "collections/create",
        collectionName=name,
        schema={
            "autoID": False,
            "enableDynamicField": True,
            "fields": [
                {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
                {"fieldName": "document", "dataType": "VarChar", "elementTypeParams": text},
                {
                    "fieldName": "dense",
                    "dataType": "FloatVector",
                    "elementTypeParams": {"dim": "1024"},
                },
                {"fieldName": "sparse", "dataType": "SparseFloatVector"},
                {
                    "fieldName": "note",
                    "dataType": "VarChar",
                    "nullable": True,
                    "elementTypeParams": {"max_length": 100},
                },
            ],
            "functions": [
                embedding(),
                {
                    "name": "bm25",
                    "type": "BM25",
                    "inputFieldNames": ["document"],
                    "outputFieldNames": ["sparse"],
                },
            ],
        },
        indexParams=[
            {"fieldName": "dense", "indexType": "AUTOINDEX", "metricType": "COSINE"},
            {
                "fieldName": "sparse",
                "indexType": "SPARSE_INVERTED_INDEX",
                "metricType": "BM25",
            },
        ],
        **settings,
    )
    assert answer == {"code": 0, "data": {}}


def insert_texts(post: Post, name: str) -> None:
    """Insert all texts, with ids from 0 and a dynamic field."""
    rows = [{"id": i, "document": text, "length": len(text)} for i, text in enumerate(TEXTS)]
    answer = post("entities/insert", collectionName=name, data=rows)
    assert answer["data"] == {"insertCount": 4, "insertIds": [0, 1, 2, 3]}, answer
