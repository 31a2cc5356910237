"""Failures of REST v2: Milvus's codes and words, and how each kind of failure is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from milvane.domain.errors import ErrorKind, ServiceError
from milvane.gateway.errors import to_status
from milvane.gateway.settings import Compat

if TYPE_CHECKING:
    from milvane.instances.upstream import UpstreamStatus

NOT_AUTHENTICATED = 1800
NOT_JSON = 1801
MISSING = 1802
BAD_ROWS = 1804
BAD_KEY = 1806
INVALID = 1100
UNEXPECTED = 65535

_STATUS_CODES = {
    grpc.StatusCode.UNAUTHENTICATED: NOT_AUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: 1401,
    grpc.StatusCode.UNAVAILABLE: 2,
    grpc.StatusCode.DEADLINE_EXCEEDED: 10001,
}


class Refusal(Exception):
    """What a caller is told instead of an answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def not_json(why: str) -> Refusal:
    """Say that a body is not what the path takes."""
    return Refusal(NOT_JSON, f"can only accept json format request, error: {why}")


def missing(why: str) -> Refusal:
    """Say that something has to be given."""
    return Refusal(MISSING, f"missing required parameters, error: {why}")


def bad_rows(why: str) -> Refusal:
    """Say that rows do not fit the collection."""
    return Refusal(BAD_ROWS, f"fail to deal the insert data, error: {why}")


def bad_key(why: str) -> Refusal:
    """Say that primary keys are not of the collection's type."""
    return Refusal(
        BAD_KEY,
        f"please check the primary key and its' type can only in [int, string], error: {why}",
    )


def invalid(why: str, *, expected: object = None, actual: object = None) -> Refusal:
    """Say that a parameter has a value it cannot have."""
    return Refusal(INVALID, invalid_text(why, expected=expected, actual=actual))


def invalid_text(why: str, *, expected: object = None, actual: object = None) -> str:
    """Write an invalid parameter as Milvus does."""
    if expected is None:
        return f"{why}: invalid parameter"
    return f"{why}: invalid parameter[expected={expected}][actual={actual}]"


def from_service(error: ServiceError, compat: Compat) -> Refusal:
    """Tell a failure of our own, with the codes of that version of Milvus."""
    if error.kind is ErrorKind.UNAUTHENTICATED:
        return Refusal(NOT_AUTHENTICATED, f"user hasn't authenticated: {error.message}")
    status = to_status(error, compat)
    return Refusal(status.code, status.reason)


def from_upstream(error: UpstreamStatus) -> Refusal:
    """Tell a call that the upstream ended with a gRPC status."""
    return Refusal(_STATUS_CODES.get(error.code, UNEXPECTED), error.details or error.code.name)
