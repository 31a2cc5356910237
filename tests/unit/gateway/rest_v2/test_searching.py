"""Searches, filters and keys as JSON into Milvus's requests."""

from __future__ import annotations

import orjson
import pytest
from pymilvus.grpc_gen import common_pb2, schema_pb2

from milvane.gateway.rest_v2.failures import Refusal
from milvane.gateway.rest_v2.searching import (
    to_deletion,
    to_get,
    to_hybrid_search,
    to_keys,
    to_query,
    to_search,
)
from milvane.gateway.rest_v2.wire import Deletion, Get, HybridSearch, Query, Search

DataType = schema_pb2.DataType
PlaceholderType = common_pb2.PlaceholderType


def a_schema(key_type: int = DataType.Int64) -> schema_pb2.CollectionSchema:
    """Describe a collection with a dense and a half-precision field."""
    schema = schema_pb2.CollectionSchema(name="c")
    schema.fields.add(name="key", data_type=key_type, is_primary_key=True)
    for name, data_type in (("dense", DataType.FloatVector), ("half", DataType.Float16Vector)):
        field = schema.fields.add(name=name, data_type=data_type)
        field.type_params.add(key="dim", value="2")
    return schema


def search(**body: object) -> Search:
    """Read a search on `dense`."""
    given = {"collectionName": "c", "annsField": "dense", "data": [[1, 2]], **body}
    return Search.model_validate(given)


def params_of(pairs: list[common_pb2.KeyValuePair]) -> dict[str, str]:
    """Read pairs as a map, each key once."""
    assert len({pair.key for pair in pairs}) == len(pairs)
    return {pair.key: pair.value for pair in pairs}


def test_search_is_read_whole() -> None:
    """Place, number, groups and parameters stand where gRPC clients put them."""
    request = to_search(
        search(
            limit=5,
            offset=2,
            filter="key > {low}",
            exprParams={"low": 3, "names": ["a", "b"]},
            outputFields=["key"],
            partitionNames=["p"],
            groupingField="key",
            groupSize=2,
            strictGroupSize=True,
            consistencyLevel="Strong",
            searchParams={"metricType": "IP", "params": {"nprobe": 8}},
        ),
        a_schema(),
        "second",
    )
    assert (request.db_name, request.dsl, request.nq) == ("second", "key > {low}", 1)
    assert request.expr_template_values["low"].int64_val == 3
    names = request.expr_template_values["names"].array_val.string_data.data
    assert list(names) == ["a", "b"]
    assert request.consistency_level == common_pb2.ConsistencyLevel.Strong
    params = params_of(list(request.search_params))
    assert orjson.loads(params.pop("params")) == {"metric_type": "IP", "nprobe": 8}
    assert params == {
        "metric_type": "IP",
        "topk": "5",
        "offset": "2",
        "anns_field": "dense",
        "group_by_field": "key",
        "group_size": "2",
        "strict_group_size": "true",
        "round_decimal": "-1",
    }


def test_text_on_half_precision_is_a_vector_in_base64() -> None:
    """There a text can only be bytes, unless the field is a function's."""
    schema = a_schema()
    request = to_search(search(annsField="half", data=["AAAAAA=="]), schema, "default")
    group = common_pb2.PlaceholderGroup.FromString(request.placeholder_group)
    assert group.placeholders[0].type == PlaceholderType.Float16Vector
    schema.fields[2].is_function_output = True
    request = to_search(search(annsField="half", data=["AAAAAA=="]), schema, "default")
    group = common_pb2.PlaceholderGroup.FromString(request.placeholder_group)
    assert group.placeholders[0].type == PlaceholderType.VarChar


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"data": []}, 1802, "must be provided"),
        ({"ids": [1]}, 1100, "mutually exclusive"),
        ({"data": [[1, 2], "text"]}, 1801, "cannot be mixed"),
        ({"data": [[1, 2, 3]]}, 1801, "dimension: 2, but length of []float: 3"),
        ({"data": [1, 2]}, 1801, "it is not a list of numbers"),
        ({"searchParams": {"params": [1]}}, 1100, "searchParams.params must be a dict"),
        ({"searchParams": {"a": 1, "params": {"a": 2}}}, 1100, "ambiguous parameter: a"),
        ({"exprParams": {"a": {}}}, 1100, "a value of exprParams"),
        ({"consistencyLevel": "weak"}, 1100, "consistencyLevel can only be"),
    ],
)
def test_search_that_cannot_be_is_refused(body: dict[str, object], code: int, message: str) -> None:
    """With Milvus's code and words."""
    with pytest.raises(Refusal) as caught:
        to_search(search(**body), a_schema(), "default")
    assert caught.value.code == code
    assert message in caught.value.message


def test_parts_of_a_hybrid_search_keep_their_own() -> None:
    """Each has its field, filter and number; the ranking is for all."""
    body = HybridSearch.model_validate(
        {
            "collectionName": "c",
            "limit": 3,
            "rerank": {"strategy": "weighted", "params": {"weights": [0.1, 0.9]}},
            "search": [
                {"data": ["a"], "annsField": "dense", "limit": 7, "filter": "key > 1"},
                {
                    "data": [[1, 2]],
                    "annsField": "half",
                    "metricType": "IP",
                    "params": {"radius": 0.5},
                },
            ],
        }
    )
    request = to_hybrid_search(body, a_schema(), "default")
    first, second = (params_of(list(part.search_params)) for part in request.requests)
    assert (first["anns_field"], first["topk"], request.requests[0].dsl) == (
        "dense",
        "7",
        "key > 1",
    )
    assert (second["anns_field"], second["metric_type"], second["radius"]) == ("half", "IP", "0.5")
    ranks = params_of(list(request.rank_params))
    assert (ranks["strategy"], ranks["limit"]) == ("weighted", "3")
    assert orjson.loads(ranks["params"]) == {"weights": [0.1, 0.9]}


def test_count_has_no_limit() -> None:
    """Counting is of all rows, although a query has a limit without being asked."""
    plain = to_query(Query.model_validate({"collectionName": "c"}), "default")
    assert params_of(list(plain.query_params)) == {"limit": "100"}
    assert list(plain.output_fields) == ["*"]
    counted = {"collectionName": "c", "outputFields": ["count(*)"]}
    assert not to_query(Query.model_validate(counted), "default").query_params


@pytest.mark.parametrize(
    ("key_type", "given", "expected"),
    [
        (DataType.Int64, 5, "key in [5]"),
        (DataType.Int64, ["5", 6], "key in [5,6]"),
        (DataType.VarChar, ['a"b', 5], 'key in ["a\\"b","5"]'),
    ],
)
def test_keys_become_a_filter(key_type: int, given: object, expected: str) -> None:
    """Of one key or several, of the type of the collection's own."""
    schema = a_schema(key_type)
    deletion = Deletion.model_validate({"collectionName": "c", "id": given})
    assert to_deletion(deletion, schema, "default").expr == expected
    get = Get.model_validate({"collectionName": "c", "id": given, "partitionName": "p"})
    assert to_get(get, schema, "default").expr == expected
    assert list(to_get(get, schema, "default").partition_names) == ["p"]


def test_key_of_another_type_is_refused() -> None:
    """Under the code that Milvus has for it."""
    for given in ("x", [], [None], {"a": 1}):
        with pytest.raises(Refusal, match="please check the primary key") as caught:
            to_keys(given, a_schema())
        assert caught.value.code == 1806


def test_deletion_of_everything_has_to_be_asked_for() -> None:
    """Neither a filter nor a key is no reason to delete all rows."""
    with pytest.raises(Refusal, match="missing required parameters"):
        to_deletion(Deletion.model_validate({"collectionName": "c"}), a_schema(), "default")


def test_filter_goes_before_keys() -> None:
    """As in Milvus, where both are given."""
    body = Deletion.model_validate({"collectionName": "c", "filter": "key > 5", "id": [1]})
    assert to_deletion(body, a_schema(), "default").expr == "key > 5"
