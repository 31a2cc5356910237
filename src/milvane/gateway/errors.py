"""
Failures in Milvus's dialect: one table from `ErrorKind` to codes, and how a reply carries them.

Milvus reports a failure inside the reply (`Status.error_code`, `.code`, `.reason`), and only what
concerns the connection as a gRPC status. Milvus 3.0 has codes of its own for some kinds; the others
are as in 2.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import message_factory

from milvane.domain.errors import (
    Conflict,
    ErrorKind,
    InvalidInput,
    NotFound,
    ProviderRefused,
    ProviderUnavailable,
    ServiceError,
)
from milvane.gateway.settings import Compat
from milvane.messages import common_pb2, milvus_pb2

_LegacyCode = common_pb2.ErrorCode


@dataclass(frozen=True, slots=True)
class Row:
    """How one kind of failure is told to a Milvus client."""

    code: int
    """`Status.code`, what today's clients read."""
    legacy_code: int
    """`Status.error_code`, what older clients and some checks read."""
    grpc_status: grpc.StatusCode | None = None
    """Set where the failure ends the call instead of being part of a reply."""


_BAD_INPUT = 65535
_UNEXPECTED = _LegacyCode.UnexpectedError

TABLE: dict[ErrorKind, Row] = {
    ErrorKind.INVALID_INPUT: Row(_BAD_INPUT, _UNEXPECTED),
    ErrorKind.NOT_FOUND: Row(100, _LegacyCode.CollectionNotExists),
    ErrorKind.CONFLICT: Row(109, _LegacyCode.SchemaMismatch),
    ErrorKind.UNAUTHENTICATED: Row(
        1400, _LegacyCode.PermissionDenied, grpc.StatusCode.UNAUTHENTICATED
    ),
    # In the reply: clients show its reason, where they would show a status's as a broken call.
    ErrorKind.PERMISSION_DENIED: Row(1401, _LegacyCode.PermissionDenied),
    ErrorKind.QUOTA_EXCEEDED: Row(8, _LegacyCode.RateLimit),
    ErrorKind.OVERLOADED: Row(8, _LegacyCode.RateLimit),
    ErrorKind.DEADLINE_EXCEEDED: Row(
        1, _LegacyCode.UnexpectedError, grpc.StatusCode.DEADLINE_EXCEEDED
    ),
    ErrorKind.MEDIA_REJECTED: Row(_BAD_INPUT, _UNEXPECTED),
    ErrorKind.UPSTREAM_UNAVAILABLE: Row(2, _UNEXPECTED, grpc.StatusCode.UNAVAILABLE),
    ErrorKind.UPSTREAM_REJECTED: Row(_BAD_INPUT, _UNEXPECTED),
    ErrorKind.INTERNAL: Row(5, _UNEXPECTED),
}


TABLE_3_0: dict[ErrorKind, Row] = TABLE | {
    ErrorKind.INVALID_INPUT: Row(1100, _UNEXPECTED),
    ErrorKind.MEDIA_REJECTED: Row(1100, _UNEXPECTED),
    ErrorKind.UPSTREAM_REJECTED: Row(2400, _UNEXPECTED),
}

_NOT_NOW = Row(2, _UNEXPECTED)
"""Milvus 3.0 tells a provider that does not answer from one that refuses; 2.6 does not."""

TABLES: Mapping[Compat, Mapping[ErrorKind, Row]] = {"2.6": TABLE, "3.0": TABLE_3_0}


class CollectionNotFound(NotFound):
    """The upstream has no such collection."""

    def __init__(self, *, database: str, collection: str) -> None:
        super().__init__(f"collection not found[database={database}][collection={collection}]")


class SchemaMismatch(Conflict):
    """The client's rows were built for another revision of the schema; clients then refresh it."""

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"collection schema mismatch[collection={collection}]: the schema has changed, "
            "describe the collection again"
        )


class OtherWeightsServe(InvalidInput):
    """A collection's vectors are those of weights that do not serve its model any more."""


def to_status(error: ServiceError, compat: Compat = "2.6") -> common_pb2.Status:
    """Write a failure as the `Status` of that version of Milvus."""
    row = TABLES[compat][error.kind]
    if compat == "3.0" and isinstance(error, ProviderUnavailable):
        row = _NOT_NOW
    reason = _worded(error, compat)
    return common_pb2.Status(
        error_code=row.legacy_code,
        code=row.code,
        reason=reason,
        detail=reason,
        retriable=error.retryable,
    )


def _worded(error: ServiceError, compat: Compat) -> str:
    """Word a failure: Milvus 3.0 says at the end of what kind it is."""
    if compat == "3.0" and error.kind is ErrorKind.INVALID_INPUT:
        return f"{error.message}: invalid parameter"
    if compat == "3.0" and isinstance(error, ProviderRefused) and not error.retryable:
        return f"{error.message}: function execution failed"
    return error.message


def to_reply(method: str, error: ServiceError, compat: Compat = "2.6") -> bytes | None:
    """
    Write a failure as the serialized reply of an RPC.

    Args:
        method: The RPC's short name, such as ``"Insert"``.

        error: What went wrong.

        compat: Which version of Milvus the codes are of.

    Returns:
        None if the reply of that RPC cannot carry a failure.
    """
    found = reply_type(method)
    if found is None:
        return None
    status = to_status(error, compat)
    if found is common_pb2.Status:
        return status.SerializeToString()
    for name in ("status", "alter_status"):
        if name in found.DESCRIPTOR.fields_by_name:
            return bytes(found(**{name: status}).SerializeToString())
    return None


def reply_type(method: str) -> Any:
    """Find the message class of an RPC's reply by the RPC's short name; none if it is unknown."""
    service = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
    descriptor = service.methods_by_name.get(method)
    if descriptor is None:
        return None
    return message_factory.GetMessageClass(descriptor.output_type)
