"""How object stores say that something went wrong: the one place with this dialect's codes."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from xml.sax.saxutils import escape

from starlette.exceptions import HTTPException
from starlette.responses import Response

from milvane.domain.errors import (
    ErrorKind,
    FileTooLarge,
    Overloaded,
    QuotaExceeded,
    ServiceError,
)
from milvane.domain.models import Model
from milvane.media import errors as media


class Row(NamedTuple):
    """What a failure is called here."""

    status: int
    code: str


TABLE: Mapping[ErrorKind, Row] = MappingProxyType(
    {
        ErrorKind.INVALID_INPUT: Row(400, "InvalidArgument"),
        ErrorKind.NOT_FOUND: Row(404, "NoSuchKey"),
        ErrorKind.CONFLICT: Row(409, "FileAlreadyExists"),
        ErrorKind.UNAUTHENTICATED: Row(403, "AccessDenied"),
        ErrorKind.PERMISSION_DENIED: Row(403, "AccessDenied"),
        ErrorKind.QUOTA_EXCEEDED: Row(403, "QuotaExceeded"),
        ErrorKind.OVERLOADED: Row(503, "ServiceUnavailable"),
        ErrorKind.DEADLINE_EXCEEDED: Row(504, "RequestTimeout"),
        ErrorKind.MEDIA_REJECTED: Row(400, "InvalidArgument"),
        ErrorKind.UPSTREAM_UNAVAILABLE: Row(503, "ServiceUnavailable"),
        ErrorKind.UPSTREAM_REJECTED: Row(502, "ServiceUnavailable"),
        ErrorKind.INTERNAL: Row(500, "InternalError"),
    }
)

_OWN: Mapping[type[ServiceError], Row] = MappingProxyType(
    {
        media.BadBucketName: Row(400, "InvalidBucketName"),
        media.BadObjectName: Row(400, "InvalidObjectName"),
        media.BadDigest: Row(400, "InvalidDigest"),
        media.NotOffered: Row(501, "NotImplemented"),
        media.NoSuchObject: Row(404, "NoSuchKey"),
        media.UnknownAccessKey: Row(403, "InvalidAccessKeyId"),
        media.SignatureMismatch: Row(403, "SignatureDoesNotMatch"),
        media.ClockSkewed: Row(403, "RequestTimeTooSkewed"),
        media.AddressExpired: Row(403, "AccessDenied"),
        FileTooLarge: Row(400, "EntityTooLarge"),
    }
)
_OF_HTTP = {404: "NoSuchKey", 405: "MethodNotAllowed", 413: "EntityTooLarge"}


def answer_error(error: ServiceError, *, request_id: str, model: Model | None) -> Response:  # noqa: ARG001 - named by the protocol
    """Answer a failure that the domain knows."""
    row = _OWN.get(type(error), TABLE[error.kind])
    headers = {}
    if isinstance(error, QuotaExceeded | Overloaded):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    return _answer(row, error.message, request_id, headers)


def answer_http_refusal(
    refusal: HTTPException,
    *,
    request_id: str,
    method: str,  # noqa: ARG001 - named by the protocol
    path: str,  # noqa: ARG001 - named by the protocol
) -> Response:
    """Answer what HTTP alone settles."""
    row = Row(refusal.status_code, _OF_HTTP.get(refusal.status_code, "InvalidArgument"))
    return _answer(row, str(refusal.detail), request_id)


def answer_unexpected(request_id: str) -> Response:
    """Answer a failure that nobody foresaw."""
    message = f"internal error; the log has more under the request id {request_id}"
    return _answer(TABLE[ErrorKind.INTERNAL], message, request_id)


def _answer(
    row: Row, message: str, request_id: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{row.code}</Code><Message>{escape(message)}</Message>"
        f"<RequestId>{escape(request_id)}</RequestId><HostId>milvane</HostId></Error>"
    ).encode("utf-8", "replace")
    # An answer to HEAD has no body: clients read the same from this header.
    told = {"x-oss-request-id": request_id, "x-oss-err": base64.b64encode(body).decode()}
    return Response(body, row.status, {**told, **headers}, media_type="application/xml")
