"""
What REST v2 clients send: one model per request body, named as Milvus's reference names its fields.

Unknown keys are ignored, and an empty string where one is needed counts as missing: as in Milvus.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

Name: TypeAlias = Annotated[str, Field(min_length=1)]
"""A string that has to be given."""
Values: TypeAlias = Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})]
"""Free-form settings; null counts as none."""
Names: TypeAlias = Annotated[list[str], BeforeValidator(lambda value: value or [])]
"""Names; null counts as none."""


class Body(BaseModel):
    """A request body."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True
    )

    db_name: str = ""


class AnyBody(Body):
    """A body that needs nothing."""


class DatabaseBody(Body):
    """Names a database."""

    db_name: Name


class DatabaseProperties(DatabaseBody):
    """A database and properties to set."""

    properties: Values = {}


class DatabasePropertyKeys(DatabaseBody):
    """A database and properties to forget."""

    property_keys: Names = []


class CollectionBody(Body):
    """Names a collection."""

    collection_name: Name


class CollectionParts(CollectionBody):
    """Names a collection, and perhaps some of its partitions."""

    partition_names: Names = []


class CollectionFilter(Body):
    """Names a collection, or none."""

    collection_name: str = ""


class CollectionProperties(CollectionBody):
    """A collection and properties to set."""

    properties: Values = {}


class CollectionPropertyKeys(CollectionBody):
    """A collection and properties to forget."""

    property_keys: Names = []


class Rename(CollectionBody):
    """A collection and its next name."""

    new_collection_name: Name
    new_db_name: str = ""


class Compaction(CollectionBody):
    """A collection to compact."""

    is_clustering: bool = False


class CompactionJob(Body):
    """A compaction that was begun."""

    job_id: int = Field(alias="jobID", ge=-(2**63), lt=2**63)


class FunctionWire(BaseModel):
    """A function of a schema, or one that ranks."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    name: Name
    description: str = ""
    type: Name
    input_field_names: Names = []
    output_field_names: Names = []
    params: Values = {}


class FunctionScoreWire(BaseModel):
    """How hits are ranked anew."""

    functions: list[FunctionWire] = []
    params: Values = {}


class FieldWire(BaseModel):
    """A field of a schema."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    field_name: Name
    data_type: Name
    element_data_type: str = ""
    description: str = ""
    is_primary: bool = False
    is_partition_key: bool = False
    is_clustering_key: bool = False
    element_type_params: Values = {}
    nullable: bool = False
    default_value: Any = None


class SchemaWire(BaseModel):
    """A collection's fields and functions."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    fields: list[FieldWire] = []
    functions: list[FunctionWire] = []
    struct_fields: list[Any] = []
    auto_id: bool = Field(default=False, alias="autoID")
    auto_id_too: bool = Field(default=False, alias="autoId")
    enable_dynamic_field: bool = False


class IndexWire(BaseModel):
    """An index of one field."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    field_name: Name
    index_name: str = ""
    metric_type: str = ""
    index_type: str = ""
    params: Values = {}


class Creation(Body):
    """A new collection: by dimension alone, or by its schema."""

    collection_name: Name
    dimension: int = 0
    id_type: str = ""
    auto_id: bool = Field(default=False, alias="autoID")
    metric_type: str = ""
    primary_field_name: str = "id"
    vector_field_name: str = "vector"
    layout: SchemaWire = Field(default=SchemaWire(), alias="schema")
    index_params: list[IndexWire] = []
    params: Values = {}
    properties: Values = {}
    description: str = ""
    consistency_level: str = ""


class FieldAddition(CollectionBody):
    """A field that an existing collection gets."""

    field: FieldWire = Field(alias="schema")


class FieldParams(CollectionBody):
    """Parameters of a field to change."""

    field_name: Name
    field_params: Values = {}


class FunctionAddition(CollectionBody):
    """A function that an existing collection gets."""

    function: FunctionWire


class FunctionChange(CollectionBody):
    """What a function of a collection becomes."""

    function_name: Name
    function: FunctionWire


class FunctionRemoval(CollectionBody):
    """A function that a collection loses; Milvus spells this key with a capital."""

    function_name: str = Field(default="", alias="FunctionName")
    function_name_too: str = Field(default="", alias="functionName")


class Rows(Body):
    """Rows to insert."""

    collection_name: Name
    partition_name: str = ""
    rows: Annotated[
        list[Any],
        Field(min_length=1, alias="data"),
        BeforeValidator(lambda value: [value] if isinstance(value, dict) else value),
    ]


class Upserted(Rows):
    """Rows to write over those that have their keys."""

    partial_update: bool = False


class Search(Body):
    """One search."""

    collection_name: Name
    queries: list[Any] = Field(default=[], alias="data")
    ids: list[Any] = []
    anns_field: str = ""
    partition_names: Names = []
    filter: str = ""
    grouping_field: str = ""
    group_size: int = 0
    strict_group_size: bool = False
    limit: int = 100
    offset: int = 0
    output_fields: Names = []
    search_params: Values = {}
    consistency_level: str = ""
    expr_params: Values = {}
    function_score: FunctionScoreWire = FunctionScoreWire()


class SubSearch(BaseModel):
    """One part of a hybrid search."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    queries: Annotated[list[Any], Field(min_length=1, alias="data")]
    anns_field: str = ""
    filter: str = ""
    grouping_field: str = ""
    metric_type: str = ""
    limit: int = 100
    offset: int = 0
    params: Values = {}
    search_params: Values = {}
    expr_params: Values = {}


class Rerank(BaseModel):
    """How the parts of a hybrid search become one list."""

    strategy: str = ""
    params: Values = {}


class HybridSearch(Body):
    """Several searches whose hits are ranked together."""

    collection_name: Name
    partition_names: Names = []
    search: Annotated[list[SubSearch], Field(min_length=1)]
    rerank: Rerank = Rerank()
    limit: int = 100
    offset: int = 0
    grouping_field: str = ""
    group_size: int = 0
    strict_group_size: bool = False
    output_fields: Names = []
    consistency_level: str = ""
    function_score: FunctionScoreWire = FunctionScoreWire()


class Query(Body):
    """Rows that a filter lets pass."""

    collection_name: Name
    partition_names: Names = []
    output_fields: Names = ["*"]
    filter: str = ""
    limit: int = 100
    offset: int = 0
    expr_params: Values = {}
    consistency_level: str = ""


class Get(Body):
    """Rows by their primary keys."""

    collection_name: Name
    partition_name: str = ""
    partition_names: Names = []
    output_fields: Names = ["*"]
    id: Any
    consistency_level: str = ""


class Deletion(Body):
    """Rows to delete, by a filter or by their primary keys."""

    collection_name: Name
    partition_name: str = ""
    filter: str = ""
    id: Any = None
    expr_params: Values = {}


class PartitionBody(Body):
    """Names a partition."""

    collection_name: Name
    partition_name: Name


class PartitionsBody(Body):
    """Names several partitions."""

    collection_name: Name
    partition_names: Annotated[list[str], Field(min_length=1)]


class IndexBody(Body):
    """Names an index."""

    collection_name: Name
    index_name: Name


class IndexCreation(Body):
    """Indexes to create."""

    collection_name: Name
    index_params: Annotated[list[IndexWire], Field(min_length=1)]


class IndexProperties(IndexBody):
    """An index and properties to set."""

    properties: Values = {}


class IndexPropertyKeys(IndexBody):
    """An index and properties to forget."""

    property_keys: Names = []


class AliasBody(Body):
    """Names an alias."""

    alias_name: Name


class AliasTarget(AliasBody):
    """An alias and the collection that it stands for."""

    collection_name: Name


class UserBody(Body):
    """Names a user."""

    user_name: Name


class UserCreation(UserBody):
    """A new user."""

    password: Name


class PasswordChange(UserCreation):
    """A user's next password."""

    new_password: Name


class UserRole(UserBody):
    """A role that a user gets or loses."""

    role_name: Name


class RoleBody(Body):
    """Names a role."""

    role_name: Name


class Grant(RoleBody):
    """A privilege that a role gets or loses, in the older form."""

    object_type: Name
    object_name: Name
    privilege: Name


class GrantByName(RoleBody):
    """A privilege or group of privileges that a role gets or loses."""

    collection_name: str = ""
    privilege: Name


class PrivilegeGroup(Body):
    """A group of privileges, and its members."""

    privilege_group_name: Name
    privileges: Names = []
