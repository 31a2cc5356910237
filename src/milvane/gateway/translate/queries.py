"""
Search requests: find the query texts, and replace them with vectors.

Pure. Only a text on the output field of an embedding function is replaced; ready-made vectors,
searches by id and texts for BM25 go on untouched.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from milvane.domain.errors import InvalidInput
from milvane.gateway.translate.functions import EmbeddingFunction, FunctionTexts
from milvane.messages import common_pb2, milvus_pb2, schema_pb2

_ANNS_FIELD = "anns_field"
_MAX_QUERIES = 16_384
"""Milvus's limit; told before anything is embedded."""
_VECTOR_TYPES = frozenset(
    {
        schema_pb2.DataType.BinaryVector,
        schema_pb2.DataType.FloatVector,
        schema_pb2.DataType.Float16Vector,
        schema_pb2.DataType.BFloat16Vector,
        schema_pb2.DataType.SparseFloatVector,
        schema_pb2.DataType.Int8Vector,
    }
)


def read_text_queries(
    request: milvus_pb2.SearchRequest,
    schema: schema_pb2.CollectionSchema,
    functions: Sequence[EmbeddingFunction],
) -> FunctionTexts | None:
    """
    Find the texts that have to be embedded for a search.

    Returns:
        None if the search has no texts, or they are not for an embedding function.

    Raises:
        InvalidInput: If the field searched is not clear, or a text is empty or not UTF-8.
    """
    placeholder = _placeholder(request)
    if placeholder is None or placeholder.type != common_pb2.PlaceholderType.VarChar:
        return None
    name = _anns_field(request, schema)
    function = next((f for f in functions if f.output_field == name), None)
    if function is None:
        return None
    return FunctionTexts(function, _decode_texts(function, placeholder.values))


def _placeholder(request: milvus_pb2.SearchRequest) -> common_pb2.PlaceholderValue | None:
    if not request.placeholder_group:
        return None
    group = common_pb2.PlaceholderGroup()
    try:
        group.ParseFromString(request.placeholder_group)
    except DecodeError as error:
        raise InvalidInput("the placeholder group of the search cannot be decoded") from error
    return group.placeholders[0] if group.placeholders else None


def _anns_field(request: milvus_pb2.SearchRequest, schema: schema_pb2.CollectionSchema) -> str:
    for pair in request.search_params:
        if pair.key == _ANNS_FIELD and pair.value:
            return pair.value
    names = [field.name for field in schema.fields if field.data_type in _VECTOR_TYPES]
    if len(names) == 1:
        return names[0]
    raise InvalidInput(
        "multiple anns_fields exist, please specify a anns_field in search_params: "
        f"one of {', '.join(names)}"
    )


def _decode_texts(function: EmbeddingFunction, values: Sequence[bytes]) -> list[str]:
    where = f"function {function.name}, field {function.output_field}"
    if not 1 <= len(values) <= _MAX_QUERIES:
        raise InvalidInput(
            f"nq [{len(values)}] is invalid, nq (number of search vector per search request) "
            f"should be in range [1, {_MAX_QUERIES}], but got {len(values)}: {where}"
        )
    texts = []
    for query, value in enumerate(values):
        if not value:
            raise InvalidInput(
                "there is an empty string in the queries, TextEmbedding function does not "
                f"support empty text: {where}, query {query}"
            )
        try:
            texts.append(value.decode())
        except UnicodeDecodeError as error:
            raise InvalidInput(f"the query is not valid UTF-8: {where}, query {query}") from error
    return texts
