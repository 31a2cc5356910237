"""
Searches and filters as JSON into Milvus's requests. Pure.

A query is a text, a vector or a sparse vector, and says so by its JSON type: on the output field
of a function a text is embedded, and a vector is searched with as it is. Milvus itself takes
everything for a text there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from milvane.gateway.rest_v2.failures import Refusal, bad_key, invalid, missing, not_json
from milvane.gateway.rest_v2.schemas import (
    as_text,
    primary_field,
    to_consistency_level,
    to_function,
    to_pairs,
    vector_field,
)
from milvane.gateway.rest_v2.values import (
    Unreadable,
    read_numbers,
    read_scalar,
    read_sparse,
    read_vector_bytes,
)
from milvane.gateway.rest_v2.wire import (
    Deletion,
    FunctionScoreWire,
    Get,
    HybridSearch,
    Query,
    Search,
    SubSearch,
)
from milvane.gateway.translate.schemas import field_dimension
from milvane.messages import common_pb2, milvus_pb2, schema_pb2

_DataType = schema_pb2.DataType
_PlaceholderType = common_pb2.PlaceholderType
_PLACEHOLDERS = {
    _DataType.BinaryVector: _PlaceholderType.BinaryVector,
    _DataType.FloatVector: _PlaceholderType.FloatVector,
    _DataType.Float16Vector: _PlaceholderType.Float16Vector,
    _DataType.BFloat16Vector: _PlaceholderType.BFloat16Vector,
    _DataType.SparseFloatVector: _PlaceholderType.SparseFloatVector,
    _DataType.Int8Vector: _PlaceholderType.Int8Vector,
}
_BASE64_TYPES = frozenset(
    {_DataType.BinaryVector, _DataType.Float16Vector, _DataType.BFloat16Vector}
)
_MAX_LEVELS = 32
"""Of lists in lists; protobuf reads a message of three times as many."""
_PARAM_NAMES = {"metricType": "metric_type", "ignoreGrowing": "ignore_growing"}
"""Keys of `searchParams` that Milvus calls otherwise."""


def to_placeholders(queries: Sequence[Any], field: schema_pb2.FieldSchema) -> bytes:
    """
    Write queries as a placeholder group.

    Args:
        queries: Texts, vectors or sparse vectors, all of one sort.

        field: The vector field that is searched.

    Raises:
        Refusal: If the queries are of several sorts, or one does not fit the field.
    """
    takes_texts = field.is_function_output or field.data_type not in _BASE64_TYPES
    texts = [takes_texts and isinstance(query, str) for query in queries]
    if any(texts) and not all(texts):
        raise not_json("data: texts and vectors cannot be mixed in one search")
    group = common_pb2.PlaceholderGroup()
    placeholder = group.placeholders.add(tag="$0")
    if all(texts):
        placeholder.type = _PlaceholderType.VarChar
        placeholder.values.extend(query.encode() for query in queries)
    else:
        placeholder.type = _PLACEHOLDERS[field.data_type]
        placeholder.values.extend(_vector(query, field) for query in queries)
    return group.SerializeToString()


def _vector(query: Any, field: schema_pb2.FieldSchema) -> bytes:
    try:
        if field.data_type == _DataType.SparseFloatVector:
            return read_sparse(query)
        if field.data_type == _DataType.FloatVector:
            return read_numbers(query, field_dimension(field)).tobytes()
        return read_vector_bytes(query, field.data_type, field_dimension(field))
    except Unreadable as error:
        raise not_json(f"data, field {field.name}: {error}") from error


def to_search(
    body: Search, schema: schema_pb2.CollectionSchema, database: str
) -> milvus_pb2.SearchRequest:
    """
    Read a search.

    Raises:
        Refusal: If there is nothing to search with, or it does not fit the collection.
    """
    if body.queries and body.ids:
        raise invalid(
            "primary keys (ids) and query vectors (data) are mutually exclusive. Please provide "
            "either 'ids' or 'data', not both"
        )
    request = milvus_pb2.SearchRequest(
        db_name=database,
        collection_name=body.collection_name,
        dsl=body.filter,
        dsl_type=common_pb2.DslType.BoolExprV1,
        output_fields=body.output_fields,
        partition_names=body.partition_names,
        nq=len(body.queries) or len(body.ids),
    )
    _set_consistency(request, body.consistency_level)
    field = vector_field(schema, body.anns_field)
    if body.ids:
        if "ids" not in request.DESCRIPTOR.fields_by_name:
            raise invalid("searching by primary keys needs the protocol of Milvus 3.0")
        request.ids.CopyFrom(_to_ids(body.ids, schema))
    elif body.queries:
        request.placeholder_group = to_placeholders(body.queries, field)
    else:
        raise Refusal(
            1802,
            "missing required parameters, error: either 'ids' (for primary key search) or 'data' "
            "(for vector search) must be provided",
        )
    request.search_params.extend(_search_params(body.search_params))
    request.search_params.extend(_placement(body, field.name))
    request.search_params.extend(_grouping(body))
    _set_expression_values(request, body.expr_params)
    if body.function_score.functions:
        request.function_score.CopyFrom(_to_function_score(body.function_score))
    return request


def to_hybrid_search(
    body: HybridSearch, schema: schema_pb2.CollectionSchema, database: str
) -> milvus_pb2.HybridSearchRequest:
    """
    Read a hybrid search.

    Raises:
        Refusal: If one of its parts does not fit the collection.
    """
    request = milvus_pb2.HybridSearchRequest(
        db_name=database,
        collection_name=body.collection_name,
        output_fields=body.output_fields,
        partition_names=body.partition_names,
    )
    _set_consistency(request, body.consistency_level)
    for part in body.search:
        request.requests.append(_to_part(part, body, schema, database))
    strategy = body.rerank.strategy or "rrf"
    request.rank_params.extend(
        to_pairs(
            {
                "strategy": strategy,
                "params": body.rerank.params,
                "limit": body.limit,
                "offset": body.offset,
                "round_decimal": -1,
            }
        )
    )
    request.rank_params.extend(_grouping(body))
    if body.function_score.functions:
        request.function_score.CopyFrom(_to_function_score(body.function_score))
    return request


def _to_part(
    part: SubSearch, body: HybridSearch, schema: schema_pb2.CollectionSchema, database: str
) -> milvus_pb2.SearchRequest:
    field = vector_field(schema, part.anns_field)
    request = milvus_pb2.SearchRequest(
        db_name=database,
        collection_name=body.collection_name,
        dsl=part.filter,
        dsl_type=common_pb2.DslType.BoolExprV1,
        output_fields=body.output_fields,
        partition_names=body.partition_names,
        placeholder_group=to_placeholders(part.queries, field),
        nq=len(part.queries),
    )
    params = {**part.search_params, **part.params}
    if part.metric_type:
        params["metricType"] = part.metric_type
    request.search_params.extend(_search_params(params))
    request.search_params.extend(_placement(part, field.name))
    _set_expression_values(request, part.expr_params)
    return request


def _placement(body: Search | SubSearch, field: str) -> list[common_pb2.KeyValuePair]:
    return to_pairs({"topk": body.limit, "offset": body.offset, "anns_field": field})


def _grouping(body: Search | HybridSearch) -> list[common_pb2.KeyValuePair]:
    if not body.grouping_field:
        return []
    values: dict[str, Any] = {"group_by_field": body.grouping_field}
    if body.group_size > 0:
        values |= {"group_size": body.group_size, "strict_group_size": body.strict_group_size}
    return to_pairs(values)


def _search_params(given: Mapping[str, Any]) -> list[common_pb2.KeyValuePair]:
    """Write search parameters side by side, and once more all together, as Milvus does."""
    inner = given.get("params") or {}
    if not isinstance(inner, dict):
        raise invalid("searchParams.params must be a dict")
    outer = {_PARAM_NAMES.get(key, key): value for key, value in given.items() if key != "params"}
    for key, value in outer.items():
        if key in inner and inner[key] != value:
            raise invalid(
                f"ambiguous parameter: {key}, in search_param: {value}, in search_param.params: "
                f"{inner[key]}"
            )
    return to_pairs({"params": {**outer, **inner}, **outer, "round_decimal": -1})


def _set_consistency(
    request: milvus_pb2.SearchRequest | milvus_pb2.HybridSearchRequest | milvus_pb2.QueryRequest,
    level: str,
) -> None:
    if level:
        request.consistency_level = to_consistency_level(level)
    else:
        request.use_default_consistency = True


def _set_expression_values(
    request: milvus_pb2.SearchRequest | milvus_pb2.QueryRequest | milvus_pb2.DeleteRequest,
    values: Mapping[str, Any],
) -> None:
    for name, value in values.items():
        request.expr_template_values[name].CopyFrom(_to_template(value))


def _to_template(value: Any) -> schema_pb2.TemplateValue:
    if isinstance(value, bool):
        return schema_pb2.TemplateValue(bool_val=value)
    if isinstance(value, int):
        _check_int64([value])
        return schema_pb2.TemplateValue(int64_val=value)
    if isinstance(value, float):
        return schema_pb2.TemplateValue(float_val=value)
    if isinstance(value, str):
        return schema_pb2.TemplateValue(string_val=value)
    if isinstance(value, list):
        return schema_pb2.TemplateValue(array_val=_to_template_array(value))
    raise invalid("a value of exprParams can only be a bool, a number, a text or a list of them")


def _check_int64(values: list[int]) -> None:
    if any(not -(2**63) <= value < 2**63 for value in values):
        raise invalid("an integer of exprParams is out of range", expected="int64")


def _to_template_array(values: list[Any], levels: int = 1) -> schema_pb2.TemplateArrayValue:
    if levels > _MAX_LEVELS:
        raise invalid(f"lists of exprParams are nested deeper than {_MAX_LEVELS} levels")
    array = schema_pb2.TemplateArrayValue()
    sorts = {type(value) for value in values}
    if sorts <= {bool}:
        array.bool_data.data.extend(values)
    elif sorts == {int}:
        _check_int64(values)
        array.long_data.data.extend(values)
    elif sorts <= {int, float}:
        array.double_data.data.extend(values)
    elif sorts == {str}:
        array.string_data.data.extend(values)
    elif sorts == {list}:
        array.array_data.data.extend(_to_template_array(value, levels + 1) for value in values)
    else:
        array.json_data.data.extend(as_text(value).encode() for value in values)
    return array


def _to_function_score(wire: FunctionScoreWire) -> schema_pb2.FunctionScore:
    return schema_pb2.FunctionScore(
        functions=[to_function(function) for function in wire.functions],
        params=to_pairs(wire.params),
    )


def to_query(body: Query, database: str) -> milvus_pb2.QueryRequest:
    """Read a query."""
    request = milvus_pb2.QueryRequest(
        db_name=database,
        collection_name=body.collection_name,
        expr=body.filter,
        output_fields=body.output_fields,
        partition_names=body.partition_names,
    )
    _set_consistency(request, body.consistency_level)
    if body.offset > 0:
        request.query_params.add(key="offset", value=str(body.offset))
    if body.limit > 0 and "count(*)" not in body.output_fields:
        request.query_params.add(key="limit", value=str(body.limit))
    _set_expression_values(request, body.expr_params)
    return request


def to_keys(given: Any, schema: schema_pb2.CollectionSchema) -> list[int | str]:
    """
    Read primary keys: one, or a list of them.

    Raises:
        Refusal: If one is not of the type of the collection's primary field.
    """
    field = primary_field(schema)
    keys = given if isinstance(given, list) else [given]
    if not keys:
        raise bad_key("no primary key is given")
    try:
        return [read_scalar(key, field.data_type) for key in keys]
    except Unreadable as error:
        raise bad_key(f"{field.name}: {error}") from error


def _to_ids(given: list[Any], schema: schema_pb2.CollectionSchema) -> schema_pb2.IDs:
    keys = to_keys(given, schema)
    ids = schema_pb2.IDs()
    if primary_field(schema).data_type == _DataType.Int64:
        ids.int_id.data.extend(keys)
    else:
        ids.str_id.data.extend(keys)
    return ids


def to_deletion(
    body: Deletion, schema: schema_pb2.CollectionSchema, database: str
) -> milvus_pb2.DeleteRequest:
    """
    Read a deletion.

    Raises:
        Refusal: If neither a filter nor primary keys are given, or keys are of another type.
    """
    if not body.filter and body.id is None:
        raise missing(
            "Key: 'CollectionFilterReq.Filter' Error:Field validation for 'Filter' failed on the "
            "'required' tag"
        )
    request = milvus_pb2.DeleteRequest(
        db_name=database,
        collection_name=body.collection_name,
        partition_name=body.partition_name,
        expr=body.filter or key_filter(primary_field(schema), to_keys(body.id, schema)),
    )
    _set_expression_values(request, body.expr_params)
    return request


def to_get(
    body: Get, schema: schema_pb2.CollectionSchema, database: str
) -> milvus_pb2.QueryRequest:
    """
    Read a query by primary keys.

    Raises:
        Refusal: If the keys are of another type than the collection's.
    """
    named = [body.partition_name] if body.partition_name else []
    request = milvus_pb2.QueryRequest(
        db_name=database,
        collection_name=body.collection_name,
        expr=key_filter(primary_field(schema), to_keys(body.id, schema)),
        output_fields=body.output_fields,
        partition_names=body.partition_names or named,
    )
    _set_consistency(request, body.consistency_level)
    return request


def key_filter(field: schema_pb2.FieldSchema, keys: Sequence[int | str]) -> str:
    """Write a filter that lets rows of these primary keys pass."""
    written = [orjson.dumps(key).decode() for key in keys]
    return f"{field.name} in [{','.join(written)}]"
