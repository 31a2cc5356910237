"""
Every failure that a caller can see, by kind.

A message is written for the caller and is safe to show. Status codes are not known here: each
front door has one table from `ErrorKind` to its own dialect.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class ErrorKind(Enum):
    """What went wrong, in terms that every front door can translate."""

    INVALID_INPUT = "invalid_input"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    QUOTA_EXCEEDED = "quota_exceeded"
    OVERLOADED = "overloaded"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    MEDIA_REJECTED = "media_rejected"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    UPSTREAM_REJECTED = "upstream_rejected"
    INTERNAL = "internal"


class ServiceError(Exception):
    """The root of all failures that are reported to a caller."""

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(ServiceError):
    """The request can never succeed as it is."""

    kind = ErrorKind.INVALID_INPUT

    def __init__(
        self, message: str, *, index: int | None = None, parameter: str | None = None
    ) -> None:
        """
        Describe what is wrong with the request.

        Args:
            message: Names the cause and the cure.

            index: Position of the offending input in the request, from 0, where one input is.

            parameter: The domain's name of the offending parameter, where one is.
        """
        super().__init__(message)
        self.index = index
        self.parameter = parameter


class EmptyInput(InvalidInput):
    """An input has no text at all."""

    def __init__(self, *, index: int) -> None:
        super().__init__(f"input {index} is an empty string", index=index, parameter="input")


class InputTooLong(InvalidInput):
    """An input has more tokens than the model takes."""

    def __init__(self, *, index: int, tokens: int, max_tokens: int, model: str) -> None:
        super().__init__(
            f"input {index} has at least {tokens} tokens, but {model} takes at most {max_tokens}: "
            "shorten it, or have the operator set serving.cut_long_inputs",
            index=index,
            parameter="input",
        )
        self.tokens = tokens
        self.max_tokens = max_tokens


class DimensionNotOffered(InvalidInput):
    """The model has no vectors of this dimension."""

    def __init__(self, *, dimension: int, model: str, offered: str) -> None:
        super().__init__(
            f"{model} has no dimension {dimension}; it offers {offered}", parameter="dimension"
        )
        self.dimension = dimension
        self.offered = offered


class OutputNotOffered(InvalidInput):
    """The model has no vectors of this kind."""

    def __init__(self, *, output: str, model: str, offered: str) -> None:
        super().__init__(
            f"{model} has no {output} vectors; it offers {offered}", parameter="output_type"
        )


class FileTooLarge(InvalidInput):
    """A file has more bytes than may be stored; nothing of it was kept."""

    def __init__(self, *, max_bytes: int) -> None:
        super().__init__(f"a file may have {max_bytes} bytes: split it", parameter="file")
        self.max_bytes = max_bytes


class NotFound(ServiceError):
    """What the request names does not exist."""

    kind = ErrorKind.NOT_FOUND


class ModelNotFound(NotFound):
    """The catalogue has no model of this name."""

    def __init__(self, name: str, *, known: str) -> None:
        super().__init__(f"model {name!r} is not in the catalogue; it has: {known}")
        self.name = name


class Conflict(ServiceError):
    """The request contradicts the present state: it exists already, or was changed meanwhile."""

    kind = ErrorKind.CONFLICT


class Unauthenticated(ServiceError):
    """Who calls is not known."""

    kind = ErrorKind.UNAUTHENTICATED


class PermissionDenied(ServiceError):
    """Who calls is known, and may not do this."""

    kind = ErrorKind.PERMISSION_DENIED


class QuotaExceeded(ServiceError):
    """The caller's quota for this window is spent."""

    kind = ErrorKind.QUOTA_EXCEEDED
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateExceeded(QuotaExceeded):
    """The caller sends more requests per second than the service takes."""


class TooManyPending(QuotaExceeded):
    """The caller has as many unfinished jobs as may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"you have {limit} unfinished jobs, and no more may wait: let some end, or cancel some",
            retry_after_s=5,
        )


class Overloaded(ServiceError):
    """The service has more work than it may hold; nothing was done for this request."""

    kind = ErrorKind.OVERLOADED
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServiceError):
    """The caller's deadline passed before the work was done."""

    kind = ErrorKind.DEADLINE_EXCEEDED
    retryable = True


class MediaRejected(ServiceError):
    """An image or video could not be fetched or decoded within the rules."""

    kind = ErrorKind.MEDIA_REJECTED
    index: int | None = None
    """Position in the request, from 0, of the input that has it, once that is known."""


class MediaTooLarge(MediaRejected):
    """An image or video has more bytes than the model, or the operator, lets be taken."""

    def __init__(self, message: str, *, max_bytes: int) -> None:
        super().__init__(message)
        self.max_bytes = max_bytes


class UpstreamUnavailable(ServiceError):
    """A server behind us does not answer at the moment."""

    kind = ErrorKind.UPSTREAM_UNAVAILABLE
    retryable = True


class StillLoading(UpstreamUnavailable):
    """The weights that are to serve the model are on their way into memory."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelNotServed(UpstreamUnavailable):
    """The catalogue has the model, but no weights that run here serve it."""


class UpstreamRejected(ServiceError):
    """A server behind us refused the request."""

    kind = ErrorKind.UPSTREAM_REJECTED


class ProviderRefused(UpstreamRejected):
    """A provider of vectors refused a request, or gave an answer that is none."""


class ProviderUnavailable(ProviderRefused):
    """A provider of vectors does not answer at the moment."""

    retryable = True


class Internal(ServiceError):
    """A defect of ours; the caller can do nothing about it."""

    kind = ErrorKind.INTERNAL
