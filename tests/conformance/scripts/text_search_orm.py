"""The documented example's texts and question through pymilvus's older, ORM-style interface."""

from __future__ import annotations

import sys

from pymilvus import (
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    Function,
    FunctionType,
    connections,
    utility,
)

from milvane.cli.example_text_search import QUESTION, TEXTS


def main(uri: str) -> None:
    """Create, insert, search; print the ids found."""
    connections.connect(alias="default", uri=uri, token="root:Milvus")
    schema = CollectionSchema(
        [
            FieldSchema("id", DataType.INT64, is_primary=True, auto_id=False),
            FieldSchema("document", DataType.VARCHAR, max_length=9000),
            FieldSchema("dense", DataType.FLOAT_VECTOR, dim=1024),
        ]
    )
    schema.add_function(
        Function(
            name="dashscope_api_test123",
            function_type=FunctionType.TEXTEMBEDDING,
            input_field_names=["document"],
            output_field_names=["dense"],
            params={"provider": "aliyun_milvus", "model_name": "text-embedding-v4"},
        )
    )
    if utility.has_collection("orm_demo"):
        utility.drop_collection("orm_demo")
    collection = Collection("orm_demo", schema)
    collection.create_index("dense", {"index_type": "AUTOINDEX", "metric_type": "COSINE"})
    collection.load()
    collection.insert([list(range(1, len(TEXTS) + 1)), TEXTS])
    (hits,) = collection.search(
        [QUESTION], "dense", {"metric_type": "COSINE"}, limit=3, output_fields=["document"]
    )
    print(*hits.ids)
    collection.drop()


if __name__ == "__main__":
    main(sys.argv[1])
