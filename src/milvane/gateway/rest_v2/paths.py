"""The table of REST v2: which paths there are, and what each does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from milvane.gateway.rest_v2 import collections, entities
from milvane.gateway.rest_v2.path import Path
from milvane.gateway.rest_v2.structures import ALIASES, DATABASES, INDEXES, PARTITIONS
from milvane.gateway.rest_v2.users import PRIVILEGE_GROUPS, ROLES, USERS

PREFIX = "/v2/vectordb/"

PATHS: Mapping[str, Path] = MappingProxyType(
    {
        **collections.PATHS,
        **entities.PATHS,
        **INDEXES,
        **PARTITIONS,
        **ALIASES,
        **DATABASES,
        **USERS,
        **ROLES,
        **PRIVILEGE_GROUPS,
    }
)
"""Paths that are served, without their prefix."""

_IMPORT = "Import reads files that the Milvus servers reach: insert the rows instead."
_ONLY_RPC = "Call it over gRPC."

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "jobs/import/list",
                "jobs/import/create",
                "jobs/import/get_progress",
                "jobs/import/describe",
                "jobs/import/commit",
                "jobs/import/abort",
            ),
            _IMPORT,
        ),
        **dict.fromkeys(
            (
                "collections/add_function_field",
                "collections/drop_function_field",
                "collections/fields/drop",
                "collections/struct_fields/add",
                "roles/alter",
                "resource_groups/create",
                "resource_groups/drop",
                "resource_groups/alter",
                "resource_groups/describe",
                "resource_groups/list",
                "resource_groups/transfer_replica",
                "file_resources/add",
                "file_resources/remove",
                "file_resources/list",
                "jobs/snapshot/restore_external",
                "jobs/snapshot/export",
                "jobs/snapshot/describe",
                "jobs/snapshot/list",
                "jobs/external_collection/refresh",
                "jobs/external_collection/describe",
                "jobs/external_collection/list",
                "common/run_analyzer",
            ),
            _ONLY_RPC,
        ),
        "segments/describe": "Segments are the upstream's own affair.",
        "quotacenter/describe": "Quotas are the upstream's own affair.",
    }
)
"""Paths that Milvus 3.0 has and this gateway answers with a refusal, and why."""
