"""How the native dialect says that something went wrong: the one place with its status codes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.responses import Response

from milvane.apis.dashscope.wire import ErrorAnswer
from milvane.apis.openai.errors import message_of as shared_message_of
from milvane.domain.errors import (
    ErrorKind,
    InvalidInput,
    MediaTooLarge,
    ModelNotFound,
    ModelNotServed,
    Overloaded,
    QuotaExceeded,
    RateExceeded,
    ServiceError,
    StillLoading,
    TooManyPending,
)
from milvane.domain.models import Model

URL_ERROR = "url error, please check url！"  # noqa: RUF001 - the hosted service's own mark
"""What the hosted service says where a model does not belong to the path."""


class Refused(InvalidInput):
    """The request is refused under a code of this dialect."""

    def __init__(self, message: str, *, code: str, index: int | None = None) -> None:
        super().__init__(message, index=index)
        self.code = code


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of failure in this dialect."""

    status: int
    code: str
    opening: str = ""
    """Documented words that the message begins with."""


TABLE: Mapping[ErrorKind, Row] = MappingProxyType(
    {
        ErrorKind.INVALID_INPUT: Row(400, "InvalidParameter"),
        ErrorKind.NOT_FOUND: Row(404, "NotFound"),
        ErrorKind.CONFLICT: Row(400, "UnsupportedOperation"),
        ErrorKind.UNAUTHENTICATED: Row(401, "InvalidApiKey", "Invalid API-key provided."),
        ErrorKind.PERMISSION_DENIED: Row(403, "AccessDenied"),
        ErrorKind.QUOTA_EXCEEDED: Row(
            429,
            "Throttling.AllocationQuota",
            "Allocated quota exceeded, please increase your quota limit.",
        ),
        ErrorKind.OVERLOADED: Row(429, "Throttling", "Requests throttling triggered."),
        ErrorKind.DEADLINE_EXCEEDED: Row(500, "RequestTimeOut"),
        ErrorKind.MEDIA_REJECTED: Row(400, "InvalidURL"),
        ErrorKind.UPSTREAM_UNAVAILABLE: Row(503, "ServiceUnavailable"),
        ErrorKind.UPSTREAM_REJECTED: Row(500, "InternalError.Algo", "Inference internal error."),
        ErrorKind.INTERNAL: Row(500, "InternalError"),
    }
)

_SPECIAL_ROWS: Mapping[type[ServiceError], Row] = MappingProxyType(
    {
        ModelNotFound: Row(400, "InvalidParameter", "Model not exist."),
        ModelNotServed: Row(503, "ModelUnavailable"),
        MediaTooLarge: Row(400, "InvalidParameter"),
        TooManyPending: Row(429, "Throttling.Concurrency", "Too many concurrent requests."),
        RateExceeded: Row(
            429,
            "Throttling.RateQuota",
            "Requests rate limit exceeded, please try again later.",
        ),
    }
)
"""Errors that clients tell apart from others of their kind."""

_TOO_LARGE = Row(400, "BadRequest.TooLarge")


def row_of(error: ServiceError) -> Row:
    """Choose status, code and opening words."""
    if isinstance(error, Refused):
        return Row(400, error.code)
    return _SPECIAL_ROWS.get(type(error), TABLE[error.kind])


def message_of(error: ServiceError, model: Model | None) -> str:
    """
    Say an error in the documented words, followed by our own where those say less.

    Args:
        error: What happened.

        model: The model asked for, once it is known.
    """
    if isinstance(error, MediaTooLarge):
        opening = f"Exceeded limit on max bytes per data-uri item : {error.max_bytes}"
        return f"{opening} ({error.message})"
    if opening := row_of(error).opening:
        return f"{opening} ({error.message})"
    return shared_message_of(error, model)


def answer_error(error: ServiceError, *, request_id: str, model: Model | None) -> Response:
    """Answer a failure that the domain knows."""
    headers = None
    if isinstance(error, Overloaded | QuotaExceeded | StillLoading):
        headers = {
            "retry-after": str(math.ceil(error.retry_after_s)),
            "retry-after-ms": str(math.ceil(error.retry_after_s * 1000)),
        }
    return _answer(row_of(error), message_of(error, model), request_id=request_id, headers=headers)


def answer_http_refusal(
    refusal: HTTPException, *, request_id: str, method: str, path: str
) -> Response:
    """Answer what HTTP alone settles: unknown path, wrong method, too large a body."""
    row = Row(refusal.status_code, "InvalidParameter")
    message = refusal.detail
    if refusal.status_code == 413:
        row = _TOO_LARGE
    elif refusal.status_code == 404:
        message = f"{URL_ERROR} Nothing is served at {path}; /openapi.json lists what is."
    elif refusal.status_code == 405:
        message = f"Request method '{method}' is not supported."
    return _answer(row, message, request_id=request_id, headers=refusal.headers)


def answer_unexpected(request_id: str) -> Response:
    """Answer a failure that nobody foresaw; what it was stays in the log."""
    message = f"Internal error; the server's log has it under request id {request_id}."
    return _answer(TABLE[ErrorKind.INTERNAL], message, request_id=request_id, headers=None)


def _answer(
    row: Row, message: str, *, request_id: str, headers: Mapping[str, str] | None
) -> Response:
    body = ErrorAnswer(code=row.code, message=message, request_id=request_id)
    return Response(
        body.model_dump_json(), row.status, headers=headers, media_type="application/json"
    )
