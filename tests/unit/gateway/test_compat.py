"""Where Milvus 2.6 and 3.0 differ: the same act, and what each says of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.domain.errors import (
    InvalidInput,
    ProviderRefused,
    ProviderUnavailable,
    ServiceError,
)
from milvane.gateway.errors import to_status
from milvane.gateway.settings import Compat
from milvane.gateway.translate.alterations import (
    SchemaChange,
    alter_function,
    plan_schema_change,
    refuse_adding,
    refuse_dropping,
)
from milvane.gateway.translate.functions import FunctionRecord
from milvane.gateway.translate.schemas import read_functions
from milvane.providers.service import ProviderService
from milvane.providers.settings import ProvidersSettings

TYPES = schema_pb2.DataType
KINDS = schema_pb2.FunctionType
PROVIDERS = ProviderService(ProvidersSettings(), environment={})
OPENAI = {"provider": "openai", "model_name": "m", "url": "http://here", "timeout_ms": "5000"}
Both = dict[Compat, str | None]
"""What each version says; none where it allows the act."""


def a_schema(params: dict[str, str] = OPENAI) -> schema_pb2.CollectionSchema:
    """Build a schema whose `dense` is filled from `document`."""
    schema = schema_pb2.CollectionSchema(name="articles")
    schema.fields.add(name="id", fieldID=100, data_type=TYPES.Int64, is_primary_key=True)
    schema.fields.add(name="document", fieldID=101, data_type=TYPES.VarChar)
    schema.fields.add(name="title", fieldID=102, data_type=TYPES.VarChar)
    for number, name in enumerate(("dense", "other")):
        field = schema.fields.add(name=name, fieldID=103 + number, data_type=TYPES.FloatVector)
        field.type_params.add(key="dim", value="1024")
    schema.functions.append(a_function(params))
    return schema


def a_function(params: dict[str, str], **changes: object) -> schema_pb2.FunctionSchema:
    """Build the function `embed`, with changes."""
    values = {
        "name": "embed",
        "type": KINDS.TextEmbedding,
        "input_field_names": ["document"],
        "output_field_names": ["dense"],
    }
    function = schema_pb2.FunctionSchema(**(values | changes))
    for key, value in params.items():
        function.params.add(key=key, value=value)
    return function


def a_record(schema: schema_pb2.CollectionSchema) -> FunctionRecord:
    """Keep the functions of a schema."""
    return FunctionRecord(1, read_functions(schema, PROVIDERS), "", ())


def check(act: Callable[[], object], expected: str | None) -> None:
    """Act, and see that it is allowed, or refused in these words."""
    if expected is None:
        act()
        return
    with pytest.raises(InvalidInput) as caught:
        act()
    assert expected in caught.value.message


ALTERED: list[tuple[str, schema_pb2.FunctionSchema, Both]] = [
    ("url", a_function(OPENAI | {"url": "http://there"}), {"2.6": None, "3.0": None}),
    ("timeout", a_function(OPENAI | {"timeout_ms": "1"}), {"2.6": None, "3.0": None}),
    ("more", a_function(OPENAI | {"credential": "key1", "User": "u"}), {"2.6": None, "3.0": None}),
    (
        "model",
        a_function(OPENAI | {"model_name": "n"}),
        {
            "2.6": None,
            "3.0": 'function param "model_name" cannot be altered for function embed; only '
            "connection/runtime params may be changed",
        },
    ),
    (
        "less",
        a_function({key: value for key, value in OPENAI.items() if key != "model_name"}),
        {"2.6": None, "3.0": 'function param "model_name" cannot be altered'},
    ),
    (
        "provider",
        a_function(OPENAI | {"provider": "tei", "endpoint": "http://here"}),
        {"2.6": None, "3.0": 'function param "endpoint" cannot be altered'},
    ),
    (
        "name",
        a_function(OPENAI, name="other"),
        {
            "2.6": "invalid function config, name not match",
            "3.0": "function name cannot be altered: embed -> other",
        },
    ),
    (
        "type",
        a_function(OPENAI, type=KINDS.BM25),
        {
            "2.6": None,
            "3.0": "function type cannot be altered: TextEmbedding -> BM25",
        },
    ),
    (
        "input",
        a_function(OPENAI, input_field_names=["title"]),
        {"2.6": None, "3.0": "function input fields cannot be altered: ['document'] -> ['title']"},
    ),
    (
        "output",
        a_function(OPENAI, output_field_names=["other"]),
        {"2.6": None, "3.0": "function output fields cannot be altered: ['dense'] -> ['other']"},
    ),
]


@pytest.mark.parametrize("compat", ["2.6", "3.0"])
@pytest.mark.parametrize(
    ("function", "said"),
    [case[1:] for case in ALTERED],
    ids=[case[0] for case in ALTERED],
)
def test_altered_function_follows_the_version(
    function: schema_pb2.FunctionSchema, said: Both, compat: Compat
) -> None:
    """Milvus 3.0 lets one alter how a provider is reached, and 2.6 everything but the name."""
    schema = a_schema()
    record = a_record(schema)
    check(
        lambda: alter_function(
            record, schema, "embed", function, revision=2, providers=PROVIDERS, compat=compat
        ),
        said[compat],
    )


@pytest.mark.parametrize(
    ("compat", "act", "said"),
    [
        ("2.6", refuse_adding, None),
        ("3.0", refuse_adding, "AddCollectionFunction RPC is no longer supported; add BM25/"),
        ("2.6", refuse_dropping, None),
        ("3.0", refuse_dropping, "DropCollectionFunction RPC is no longer supported; drop a"),
    ],
)
def test_calls_that_are_gone_are_refused(
    compat: Compat, act: Callable[[Compat], None], said: str | None
) -> None:
    """Milvus 3.0 names the calls that took their place."""
    check(lambda: act(compat), said)


@pytest.mark.parametrize(
    ("compat", "said"),
    [
        (
            "2.6",
            "Function output field:[dense]'s dimension [1024] does not match the dimension [512] "
            "provided in Function params.",
        ),
        (
            "3.0",
            "function output field:[dense]'s dimension [1024] does not match the dimension [512] "
            "provided in Function params",
        ),
    ],
)
def test_dimension_is_worded_by_the_version(compat: Compat, said: str) -> None:
    """Clients match on the message of the Milvus that they know."""
    params = {"provider": "aliyun_milvus", "model_name": "text-embedding-v4", "dim": "512"}
    with pytest.raises(InvalidInput) as caught:
        read_functions(a_schema(params), PROVIDERS, compat=compat)
    assert caught.value.message.endswith(said)


@pytest.mark.parametrize(
    ("compat", "said"),
    [
        ("2.6", "TextEmbedding function input field must be a VARCHAR/TEXT field"),
        ("3.0", "TextEmbedding function input field must be a VARCHAR/TEXT field"),
    ],
)
def test_vector_is_no_input(compat: Compat, said: str) -> None:
    """A function of vectors is refused for that, before anything about a cascade."""
    schema = a_schema()
    schema.functions.append(
        a_function(OPENAI, name="again", input_field_names=["dense"], output_field_names=["other"])
    )
    check(lambda: read_functions(schema, PROVIDERS, compat=compat), said)


@pytest.mark.parametrize(
    ("compat", "said"),
    [
        ("2.6", None),
        (
            "3.0",
            "function embed input field document is the output of another function; function "
            "cascade is not supported",
        ),
    ],
)
def test_cascade_is_refused_by_the_version(compat: Compat, said: str | None) -> None:
    """Milvus 3.0 looks whether a function feeds another one."""
    schema = a_schema()
    schema.functions.add(
        name="first",
        type=KINDS.MinHash,
        input_field_names=["title"],
        output_field_names=["document"],
    )
    check(lambda: read_functions(schema, PROVIDERS, compat=compat), said)


@pytest.mark.parametrize(
    ("error", "compat", "code", "said"),
    [
        (InvalidInput("wrong"), "2.6", 65535, "wrong"),
        (InvalidInput("wrong"), "3.0", 1100, "wrong: invalid parameter"),
        (ProviderRefused("no"), "2.6", 65535, "no"),
        (ProviderRefused("no"), "3.0", 2400, "no: function execution failed"),
        (ProviderUnavailable("busy"), "2.6", 65535, "busy"),
        (ProviderUnavailable("busy"), "3.0", 2, "busy"),
    ],
)
def test_failure_is_told_by_the_version(
    error: ServiceError, compat: Compat, code: int, said: str
) -> None:
    """Code and reason are those of that Milvus."""
    status = to_status(error, compat)
    assert (status.code, status.reason) == (code, said)


Action = milvus_pb2.AlterCollectionSchemaRequest.Action


def dropping(**values: object) -> Action:
    """Drop a field, or a function."""
    action = Action()
    action.drop_request.SetInParent()
    for key, value in values.items():
        setattr(action.drop_request, key, value)
    return action


def plan(action: Action, schema: schema_pb2.CollectionSchema | None = None) -> SchemaChange | None:
    """Plan a change of a collection with the function `embed`."""
    return plan_schema_change(a_record(a_schema()), schema or a_schema(), action, revision=7)


def test_dropped_function_takes_its_field_along_if_asked() -> None:
    """What is kept has a new revision, and the field is for the upstream to drop."""
    change = plan(dropping(function_name="embed", drop_function_output_fields=True))
    assert change is not None
    assert change.record is not None
    assert (change.record.functions, change.record.revision) == ((), 7)
    assert change.dropped_field == "dense"
    kept = plan(dropping(function_name="embed"))
    assert kept is not None
    assert kept.dropped_field == ""


def test_function_without_its_field_can_be_dropped() -> None:
    """A drop that was interrupted between field and function can be finished."""
    schema = a_schema()
    del schema.fields[3]
    change = plan(dropping(function_name="embed", drop_function_output_fields=True), schema)
    assert change is not None
    assert change.dropped_field == ""


@pytest.mark.parametrize(
    "drop",
    [{"field_name": "dense"}, {"field_name": "document"}, {"field_id": 103}, {"field_id": 101}],
)
def test_field_of_a_function_is_not_dropped(drop: dict[str, object]) -> None:
    """The function goes first."""
    with pytest.raises(InvalidInput, match="function embed needs it"):
        plan(dropping(**drop))


def test_change_that_concerns_no_function_is_the_upstreams() -> None:
    """Other fields, other functions, and collections without any of ours."""
    assert plan(dropping(field_name="other")) is None
    assert plan(dropping(function_name="bm25")) is None
    drop = dropping(field_name="dense")
    assert plan_schema_change(None, a_schema(), drop, revision=1) is None
    adding = Action()
    adding.add_request.func_schema.add(name="bm25", type=KINDS.BM25)
    assert plan(adding) is None


def test_embedding_function_is_not_added_with_a_field() -> None:
    """Milvus adds only functions that it runs by itself to collections with rows."""
    adding = Action()
    adding.add_request.func_schema.append(a_function(OPENAI))
    with pytest.raises(InvalidInput, match="define a TextEmbedding function at collection creat"):
        plan(adding)
