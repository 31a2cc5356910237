"""How the management API says that something went wrong: the one place with its status codes."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from milvane.domain.errors import (
    ErrorKind,
    InvalidInput,
    Overloaded,
    QuotaExceeded,
    ServiceError,
    StillLoading,
)
from milvane.domain.models import Model

STATUSES: Mapping[ErrorKind, int] = MappingProxyType(
    {
        ErrorKind.INVALID_INPUT: 400,
        ErrorKind.NOT_FOUND: 404,
        ErrorKind.CONFLICT: 409,
        ErrorKind.UNAUTHENTICATED: 401,
        ErrorKind.PERMISSION_DENIED: 403,
        ErrorKind.QUOTA_EXCEEDED: 429,
        ErrorKind.OVERLOADED: 429,
        ErrorKind.DEADLINE_EXCEEDED: 504,
        ErrorKind.MEDIA_REJECTED: 400,
        ErrorKind.UPSTREAM_UNAVAILABLE: 503,
        ErrorKind.UPSTREAM_REJECTED: 502,
        ErrorKind.INTERNAL: 500,
    }
)


def answer_error(error: ServiceError, *, request_id: str, model: Model | None) -> Response:  # noqa: ARG001 - named by the protocol
    """Answer a failure that the domain knows."""
    headers = {}
    if isinstance(error, QuotaExceeded | Overloaded | StillLoading):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    parameter = error.parameter if isinstance(error, InvalidInput) else None
    status = STATUSES[error.kind]
    return _answer(status, error.kind.value, error.message, request_id, parameter, headers)


def answer_http_refusal(
    refusal: HTTPException, *, request_id: str, method: str, path: str
) -> Response:
    """Answer what HTTP alone settles: unknown path, wrong method, too large a body."""
    known = {404: f"there is no {method} {path}", 405: f"{path} does not take {method}"}
    message = known.get(refusal.status_code, str(refusal.detail))
    return _answer(refusal.status_code, "http", message, request_id)


def answer_unexpected(request_id: str) -> Response:
    """Answer a failure that nobody foresaw."""
    message = f"internal error; the log has more under the request id {request_id}"
    return _answer(500, ErrorKind.INTERNAL.value, message, request_id)


def _answer(
    status: int,
    kind: str,
    message: str,
    request_id: str,
    parameter: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    error: dict[str, Any] = {"kind": kind, "message": message, "request_id": request_id}
    if parameter is not None:
        error["parameter"] = parameter
    return Response(
        orjson.dumps({"error": error}), status, dict(headers), media_type="application/json"
    )
