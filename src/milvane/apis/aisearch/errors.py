"""How the AI Search dialect says that something went wrong: the one place with its status codes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.responses import Response

from milvane.apis.aisearch.wire import ErrorAnswer
from milvane.domain.errors import (
    ErrorKind,
    ModelNotFound,
    ModelNotServed,
    Overloaded,
    QuotaExceeded,
    RateExceeded,
    ServiceError,
    StillLoading,
)
from milvane.domain.models import Model

INVALID = "Required parameter(s) missing or invalid, please check the request parameters."
_DEFECT = "An internal error has occured, please try again later or contact service support."  # sic


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of failure in this dialect."""

    status: int
    code: str
    opening: str = ""
    """Documented words that the message begins with; none where the failure is not documented."""


TABLE: Mapping[ErrorKind, Row] = MappingProxyType(
    {
        ErrorKind.INVALID_INPUT: Row(400, "InvalidParameter", INVALID),
        ErrorKind.NOT_FOUND: Row(404, "NotFound"),
        ErrorKind.CONFLICT: Row(409, "Conflict"),
        ErrorKind.UNAUTHENTICATED: Row(401, "InvalidApiKey"),
        ErrorKind.PERMISSION_DENIED: Row(403, "AccessDenied"),
        ErrorKind.QUOTA_EXCEEDED: Row(
            429,
            "Throttling.AllocationQuota",
            "Allocated quota exceeded, please increase your quota limit.",
        ),
        ErrorKind.OVERLOADED: Row(429, "Throttling", "Requests throttling triggered."),
        ErrorKind.DEADLINE_EXCEEDED: Row(504, "RequestTimeOut"),
        ErrorKind.MEDIA_REJECTED: Row(400, "InvalidParameter", INVALID),
        ErrorKind.UPSTREAM_UNAVAILABLE: Row(503, "ServiceUnavailable"),
        ErrorKind.UPSTREAM_REJECTED: Row(500, "InternalServerError", _DEFECT),
        ErrorKind.INTERNAL: Row(500, "InternalServerError", _DEFECT),
    }
)

_SPECIAL_ROWS: Mapping[type[ServiceError], Row] = MappingProxyType(
    {
        ModelNotFound: Row(400, "ServiceIdNotExist", "service_id is not exist."),
        ModelNotServed: Row(503, "ModelUnavailable"),
        RateExceeded: Row(
            429,
            "Throttling.RateQuota",
            "Requests rate limit exceeded, please try again later.",
        ),
    }
)
"""Errors that clients tell apart from others of their kind."""


def row_of(error: ServiceError) -> Row:
    """Choose status, code and opening words."""
    return _SPECIAL_ROWS.get(type(error), TABLE[error.kind])


def answer_error(error: ServiceError, *, request_id: str, model: Model | None) -> Response:  # noqa: ARG001 - one signature for all dialects
    """Answer a failure that the domain knows."""
    row = row_of(error)
    message = f"{row.opening} ({error.message})" if row.opening else error.message
    headers = None
    if isinstance(error, Overloaded | QuotaExceeded | StillLoading):
        headers = {"retry-after": str(math.ceil(error.retry_after_s))}
    return _answer(row, message, request_id=request_id, headers=headers)


def answer_http_refusal(
    refusal: HTTPException, *, request_id: str, method: str, path: str
) -> Response:
    """Answer what HTTP alone settles: unknown path, wrong method, too large a body."""
    messages = {
        404: f"nothing is served at {path}; /openapi.json lists what is",
        405: f"method {method} is not supported",
    }
    message = messages.get(refusal.status_code, refusal.detail)
    return _answer(
        Row(refusal.status_code, "InvalidParameter"),
        f"{INVALID} ({message})",
        request_id=request_id,
        headers=refusal.headers,
    )


def answer_unexpected(request_id: str) -> Response:
    """Answer a failure that nobody foresaw; what it was stays in the log."""
    return _answer(
        TABLE[ErrorKind.INTERNAL],
        f"{_DEFECT} (the server's log has it under request id {request_id})",
        request_id=request_id,
        headers=None,
    )


def _answer(
    row: Row, message: str, *, request_id: str, headers: Mapping[str, str] | None
) -> Response:
    body = ErrorAnswer(request_id=request_id, latency=0, code=row.code, message=message)
    return Response(
        body.model_dump_json(), row.status, headers=headers, media_type="application/json"
    )
