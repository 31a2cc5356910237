"""Collections, fields, functions and indexes between JSON and Milvus's messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from milvane.gateway.rest_v2.columns import DYNAMIC_FIELD
from milvane.gateway.rest_v2.failures import Refusal, invalid, invalid_text
from milvane.gateway.rest_v2.values import (
    TEXT_TYPES,
    VECTOR_TYPES,
    Unreadable,
    read_scalar,
    write_json,
)
from milvane.gateway.rest_v2.wire import Creation, FieldWire, FunctionWire, IndexWire
from milvane.messages import common_pb2, milvus_pb2, schema_pb2

_DataType = schema_pb2.DataType
_QUICK_TYPES = {"": _DataType.Int64, "int64": _DataType.Int64, "varchar": _DataType.VarChar}
_DEFAULT_METRIC = "COSINE"
_INT32_END = 2**31
_PROPERTY_PARAMS = {
    "ttlSeconds": "collection.ttl.seconds",
    "partitionKeyIsolation": "partitionkey.isolation",
    "mmap.enabled": "mmap.enabled",
}
"""Keys of a creation's `params` that are properties of the collection."""


def as_text(value: Any) -> str:
    """Write a setting's value as Milvus keeps it: texts as they are, all else as JSON."""
    try:
        return value if isinstance(value, str) else write_json(value).decode()
    except Unreadable as error:
        raise invalid(f"a setting cannot be kept: {error}") from error


def to_pairs(values: Mapping[str, Any]) -> list[common_pb2.KeyValuePair]:
    """Write settings as pairs of texts."""
    return [common_pb2.KeyValuePair(key=key, value=as_text(value)) for key, value in values.items()]


def write_pairs(pairs: Iterable[common_pb2.KeyValuePair]) -> list[dict[str, str]]:
    """Write pairs as Milvus's JSON does."""
    return [{"key": pair.key, "value": pair.value} for pair in pairs]


def to_creation(body: Creation, database: str) -> milvus_pb2.CreateCollectionRequest:
    """
    Read the request that creates a collection.

    Raises:
        Refusal: If there is neither a schema nor a dimension, or a part of them is unknown.
    """
    schema = _quick_schema(body) if not body.layout.fields else _full_schema(body)
    level = body.consistency_level or str(body.params.get("consistencyLevel", "Bounded"))
    request = milvus_pb2.CreateCollectionRequest(
        db_name=database,
        collection_name=body.collection_name,
        schema=schema.SerializeToString(),
        shards_num=_number(body.params, "shardsNum", 1),
        num_partitions=_number(body.params, "partitionsNum", 0),
        consistency_level=to_consistency_level(level),
    )
    request.properties.extend(to_pairs(body.properties))
    for key, name in _PROPERTY_PARAMS.items():
        if key in body.params:
            request.properties.add(key=name, value=as_text(body.params[key]))
    return request


def _number(values: Mapping[str, Any], key: str, default: int) -> int:
    try:
        number = int(values.get(key, default))
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"{key} has to be a number", expected="int", actual=values[key]) from error
    if not 0 <= number < _INT32_END:
        raise invalid(f"{key} is out of range", expected="int32", actual=values[key])
    return number


def to_consistency_level(name: str) -> int:
    """
    Find a consistency level by its name.

    Raises:
        Refusal: If there is none of that name.
    """
    try:
        return int(common_pb2.ConsistencyLevel.Value(name))
    except ValueError as error:
        names = ", ".join(common_pb2.ConsistencyLevel.keys())
        raise invalid(
            f"consistencyLevel can only be [{names}], default: Bounded",
            expected=names,
            actual=name,
        ) from error


def _quick_schema(body: Creation) -> schema_pb2.CollectionSchema:
    if body.layout.functions:
        raise invalid(
            "functions are not supported for quickly create collection",
            expected="schema",
            actual="functions",
        )
    if not body.dimension:
        raise invalid(
            "dimension is required for quickly create collection"
            f"(default metric type: {_DEFAULT_METRIC})",
            expected="collectionName & dimension",
            actual="collectionName",
        )
    key_type = _QUICK_TYPES.get(body.id_type.lower())
    if key_type is None:
        raise invalid(
            "idType can only be [Int64, VarChar], default: Int64",
            expected="Int64, Varchar",
            actual=body.id_type,
        )
    schema = schema_pb2.CollectionSchema(
        name=body.collection_name,
        description=body.description,
        enable_dynamic_field=as_text(body.params.get("enableDynamicField", "true")).lower()
        == "true",
    )
    key = schema.fields.add(
        name=body.primary_field_name, is_primary_key=True, data_type=key_type, autoID=body.auto_id
    )
    if key_type == _DataType.VarChar:
        key.type_params.add(key="max_length", value=as_text(body.params.get("max_length", 65535)))
    vector = schema.fields.add(name=body.vector_field_name, data_type=_DataType.FloatVector)
    vector.type_params.add(key="dim", value=str(body.dimension))
    return schema


def _full_schema(body: Creation) -> schema_pb2.CollectionSchema:
    layout = body.layout
    if layout.struct_fields:
        raise invalid("arrays of structs cannot be created over REST")
    auto_id = layout.auto_id or layout.auto_id_too
    schema = schema_pb2.CollectionSchema(
        name=body.collection_name,
        description=body.description,
        autoID=auto_id,
        enable_dynamic_field=layout.enable_dynamic_field,
    )
    schema.functions.extend(to_function(function) for function in layout.functions)
    outputs = {name for function in layout.functions for name in function.output_field_names}
    for wire in layout.fields:
        field = schema.fields.add()
        field.CopyFrom(to_field(wire))
        field.autoID = auto_id and field.is_primary_key
        field.is_function_output = field.name in outputs
    return schema


def to_field(wire: FieldWire) -> schema_pb2.FieldSchema:
    """
    Read a field.

    Raises:
        Refusal: If its type is unknown, or its default value is none of the type.
    """
    field = schema_pb2.FieldSchema(
        name=wire.field_name,
        description=wire.description,
        data_type=_data_type(wire.data_type, "data type"),
        is_primary_key=wire.is_primary,
        is_partition_key=wire.is_partition_key,
        is_clustering_key=wire.is_clustering_key,
        nullable=wire.nullable,
    )
    if field.data_type == _DataType.Array:
        field.element_type = _data_type(wire.element_data_type, "element data type")
    field.type_params.extend(to_pairs(wire.element_type_params))
    if wire.default_value is not None:
        field.default_value.CopyFrom(_default_value(wire.default_value, field.data_type))
    return field


def _data_type(name: str, what: str) -> int:
    try:
        return int(_DataType.Value(name))
    except ValueError as error:
        raise Refusal(
            1100, f"invalid parameter, {what} {name} is invalid(case sensitive)."
        ) from error


def _default_value(value: Any, data_type: int) -> schema_pb2.ValueField:
    try:
        read = read_scalar(value, data_type)
    except Unreadable as error:
        text = invalid_text(str(error), expected=_DataType.Name(data_type), actual=value)
        raise Refusal(1100, f"convert defaultValue fail, err:{text}") from error
    if data_type == _DataType.Bool:
        return schema_pb2.ValueField(bool_data=read)
    if data_type in (_DataType.Int8, _DataType.Int16, _DataType.Int32):
        return schema_pb2.ValueField(int_data=read)
    if data_type == _DataType.Int64:
        return schema_pb2.ValueField(long_data=read)
    if data_type == _DataType.Float:
        return schema_pb2.ValueField(float_data=read)
    if data_type == _DataType.Double:
        return schema_pb2.ValueField(double_data=read)
    if data_type in TEXT_TYPES:
        return schema_pb2.ValueField(string_data=read)
    raise invalid(f"fields of type {_DataType.Name(data_type)} have no default value")


def to_function(wire: FunctionWire) -> schema_pb2.FunctionSchema:
    """
    Read a function.

    Raises:
        Refusal: If there is none of its type.
    """
    if wire.type not in schema_pb2.FunctionType.keys():  # noqa: SIM118 - an enum is no mapping
        raise Refusal(1100, f"invalid parameter, Unsupported function type: {wire.type}")
    return schema_pb2.FunctionSchema(
        name=wire.name,
        description=wire.description,
        type=schema_pb2.FunctionType.Value(wire.type),
        input_field_names=wire.input_field_names,
        output_field_names=wire.output_field_names,
        params=to_pairs(wire.params),
    )


def to_index(wire: IndexWire, collection: str, database: str) -> milvus_pb2.CreateIndexRequest:
    """Read the request that creates an index."""
    params = dict(wire.params)
    index_type = wire.index_type or params.pop("index_type", "") or "AUTOINDEX"
    request = milvus_pb2.CreateIndexRequest(
        db_name=database,
        collection_name=collection,
        field_name=wire.field_name,
        index_name=wire.index_name,
    )
    request.extra_params.add(key="index_type", value=index_type)
    if wire.metric_type:
        request.extra_params.add(key="metric_type", value=wire.metric_type)
    if params:
        request.extra_params.add(key="params", value=as_text(params))
    return request


def indexes_of(body: Creation) -> list[IndexWire]:
    """
    Say which indexes a new collection gets.

    Raises:
        Refusal: If one is for a field that the schema does not have.
    """
    if not body.layout.fields:
        return [
            IndexWire(
                field_name=body.vector_field_name,
                index_name=body.vector_field_name,
                metric_type=body.metric_type or _DEFAULT_METRIC,
            )
        ]
    names = {field.field_name for field in body.layout.fields}
    for index in body.index_params:
        if index.field_name not in names:
            raise Refusal(
                1802,
                "missing required parameters, error: "
                f"`{index.field_name}` hasn't defined in schema",
            )
    return body.index_params


def write_field(field: schema_pb2.FieldSchema) -> dict[str, Any]:
    """Describe a field."""
    written: dict[str, Any] = {
        "name": field.name,
        "id": field.fieldID,
        "type": _DataType.Name(field.data_type),
        "description": field.description,
        "primaryKey": field.is_primary_key,
        "partitionKey": field.is_partition_key,
        "clusteringKey": field.is_clustering_key,
        "autoId": field.autoID,
        "nullable": field.nullable,
    }
    if field.type_params:
        written["params"] = write_pairs(field.type_params)
    if field.data_type == _DataType.Array:
        written["elementType"] = _DataType.Name(field.element_type)
    if field.HasField("default_value"):
        held = field.default_value.WhichOneof("data")
        written["defaultValue"] = getattr(field.default_value, held) if held else None
    if field.is_function_output:
        written["isFunctionOutput"] = True
    return written


def write_function(function: schema_pb2.FunctionSchema) -> dict[str, Any]:
    """Describe a function; its type is a number, as Milvus writes it."""
    return {
        "name": function.name,
        "description": function.description,
        "type": function.type,
        "id": function.id,
        "inputFieldNames": list(function.input_field_names),
        "outputFieldNames": list(function.output_field_names),
        "params": write_pairs(function.params),
    }


def write_collection(reply: milvus_pb2.DescribeCollectionResponse) -> dict[str, Any]:
    """Describe a collection, as far as its schema says."""
    schema = reply.schema
    return {
        "collectionName": reply.collection_name or schema.name,
        "collectionID": reply.collectionID,
        "description": schema.description,
        "aliases": list(reply.aliases),
        "autoId": any(field.is_primary_key and field.autoID for field in schema.fields),
        "fields": [write_field(field) for field in schema.fields if field.name != DYNAMIC_FIELD],
        "functions": [write_function(function) for function in schema.functions],
        "enableDynamicField": schema.enable_dynamic_field,
        "shardsNum": reply.shards_num,
        "partitionsNum": reply.num_partitions,
        "consistencyLevel": common_pb2.ConsistencyLevel.Name(reply.consistency_level),
        "properties": write_pairs(reply.properties),
    }


def primary_field(schema: schema_pb2.CollectionSchema) -> schema_pb2.FieldSchema:
    """
    Find the field of the primary key.

    Raises:
        Refusal: If there is none.
    """
    for field in schema.fields:
        if field.is_primary_key:
            return field
    raise invalid(f"collection: {schema.name} has no primary field")


def vector_field(schema: schema_pb2.CollectionSchema, name: str) -> schema_pb2.FieldSchema:
    """
    Find the field that a search is on.

    Args:
        schema: The collection's, as clients see it.

        name: What the search calls it; empty for the only one there is.

    Raises:
        Refusal: If there is no such field, or more than one to choose from.
    """
    vectors = [field for field in schema.fields if field.data_type in VECTOR_TYPES]
    if name:
        vectors = [field for field in vectors if field.name == name]
    elif len(vectors) > 1:
        raise Refusal(
            1801,
            "can only accept json format request, error: search without annsField, but already "
            f"found multiple vector fields: [{', '.join(field.name for field in vectors)}]",
        )
    if not vectors:
        raise Refusal(
            1801,
            "can only accept json format request, error: cannot find a vector field named: " + name,
        )
    return vectors[0]
