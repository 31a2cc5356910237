"""How the OpenAI dialect says that something went wrong: the one place with its status codes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.responses import Response

from milvane.apis.openai.wire import ErrorAnswer, ErrorDetail
from milvane.domain.errors import (
    DimensionNotOffered,
    EmptyInput,
    ErrorKind,
    InputTooLong,
    InvalidInput,
    ModelNotFound,
    ModelNotServed,
    NotFound,
    Overloaded,
    QuotaExceeded,
    RateExceeded,
    ServiceError,
    StillLoading,
)
from milvane.domain.models import Model

ALGORITHM = "<400> InternalError.Algo.InvalidParameter: "
"""How the hosted service begins what its models refuse; clients match on these texts."""


class NotOffered(NotFound):
    """The catalogue has the model, but this dialect does not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of failure in this dialect."""

    status: int
    code: str
    type: str


TABLE: Mapping[ErrorKind, Row] = MappingProxyType(
    {
        ErrorKind.INVALID_INPUT: Row(400, "InvalidParameter", "InvalidParameter"),
        ErrorKind.NOT_FOUND: Row(404, "not_found", "invalid_request_error"),
        ErrorKind.CONFLICT: Row(409, "conflict", "invalid_request_error"),
        ErrorKind.UNAUTHENTICATED: Row(401, "invalid_api_key", "invalid_request_error"),
        ErrorKind.PERMISSION_DENIED: Row(403, "access_denied", "invalid_request_error"),
        ErrorKind.QUOTA_EXCEEDED: Row(429, "insufficient_quota", "insufficient_quota"),
        ErrorKind.OVERLOADED: Row(429, "limit_requests", "limit_requests"),
        ErrorKind.DEADLINE_EXCEEDED: Row(504, "RequestTimeOut", "server_error"),
        ErrorKind.MEDIA_REJECTED: Row(400, "InvalidParameter", "InvalidParameter"),
        ErrorKind.UPSTREAM_UNAVAILABLE: Row(503, "ServiceUnavailable", "server_error"),
        ErrorKind.UPSTREAM_REJECTED: Row(502, "UpstreamRejected", "server_error"),
        ErrorKind.INTERNAL: Row(500, "InternalError", "server_error"),
    }
)

_SPECIAL_ROWS: Mapping[type[ServiceError], Row] = MappingProxyType(
    {
        ModelNotFound: Row(404, "model_not_found", "invalid_request_error"),
        NotOffered: Row(404, "ModelNotFound", "invalid_request_error"),
        ModelNotServed: Row(503, "ModelUnavailable", "server_error"),
        RateExceeded: Row(429, "limit_requests", "limit_requests"),
    }
)
"""Errors that clients tell apart from others of their kind."""

_HTTP_CODES: Mapping[int, str] = MappingProxyType(
    {404: "not_found", 405: "method_not_allowed", 413: "BadRequest.TooLarge"}
)
"""What is refused before any route knows of it."""

_PARAMETERS: Mapping[str, str] = MappingProxyType(
    {"dimension": "dimensions", "purpose": "text_type", "file_purpose": "purpose"}
)
"""The domain's names that this dialect spells otherwise."""


def row_of(error: ServiceError) -> Row:
    """Choose status, code and type."""
    return _SPECIAL_ROWS.get(type(error), TABLE[error.kind])


def message_of(error: ServiceError, model: Model | None) -> str:
    """
    Say an error in the documented words, followed by our own where those say less.

    Args:
        error: What happened.

        model: The model asked for, once it is known.
    """
    if isinstance(error, ModelNotFound):
        return (
            f"The model {error.name} does not exist or you do not have access to it. "
            f"({error.message})"
        )
    if model is None:
        return error.message
    if isinstance(error, EmptyInput | InputTooLong):
        limit = model.max_input_tokens
        return f"{ALGORITHM}Range of input length should be [1, {limit}]: {error.message}"
    if isinstance(error, DimensionNotOffered):
        series = model.name.removeprefix("text-embedding-")
        return (  # "shold" is what the hosted service says, and what clients may look for
            f"{ALGORITHM}Value error, dimension for embedding {series} is invalid, "
            f"its value shold be in [{error.offered}]: {error.message}"
        )
    return error.message


def answer_error(error: ServiceError, *, request_id: str, model: Model | None) -> Response:
    """Answer a failure that the domain knows."""
    row = row_of(error)
    parameter = error.parameter if isinstance(error, InvalidInput) else None
    return _answer(
        row,
        message=message_of(error, model),
        parameter=parameter and _PARAMETERS.get(parameter, parameter),
        request_id=request_id,
        headers=_retry_headers(error),
    )


def answer_http_refusal(
    refusal: HTTPException, *, request_id: str, method: str, path: str
) -> Response:
    """Answer what HTTP alone settles: unknown path, wrong method, too large a body."""
    code = _HTTP_CODES.get(refusal.status_code, "InvalidParameter")
    row = Row(refusal.status_code, code, "invalid_request_error")
    messages = {
        404: f"Not Found: nothing is served at {path}; /openapi.json lists what is.",
        405: f"Request method '{method}' is not supported.",
    }
    message = messages.get(refusal.status_code, refusal.detail)
    return _answer(
        row, message=message, parameter=None, request_id=request_id, headers=refusal.headers
    )


def answer_unexpected(request_id: str) -> Response:
    """Answer a failure that nobody foresaw; what it was stays in the log."""
    return _answer(
        TABLE[ErrorKind.INTERNAL],
        message=f"Internal error; the server's log has it under request id {request_id}.",
        parameter=None,
        request_id=request_id,
        headers=None,
    )


def _retry_headers(error: ServiceError) -> dict[str, str] | None:
    if not isinstance(error, Overloaded | QuotaExceeded | StillLoading):
        return None
    return {
        "retry-after": str(math.ceil(error.retry_after_s)),
        "retry-after-ms": str(math.ceil(error.retry_after_s * 1000)),
    }


def _answer(
    row: Row,
    *,
    message: str,
    parameter: str | None,
    request_id: str,
    headers: Mapping[str, str] | None,
) -> Response:
    detail = ErrorDetail(message=message, type=row.type, param=parameter, code=row.code)
    body = ErrorAnswer(error=detail, id=request_id, request_id=request_id)
    return Response(
        body.model_dump_json(), row.status, headers=headers, media_type="application/json"
    )
