"""Which dialect a path speaks: the shape of its errors depends on nothing else."""

from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.responses import Response

from milvane.apis.aisearch import errors as aisearch
from milvane.apis.dashscope import errors as dashscope
from milvane.apis.management import errors as management
from milvane.apis.openai import errors as openai
from milvane.apis.oss import errors as oss
from milvane.apis.oss.door import PATH as OSS_PATH
from milvane.domain.errors import ServiceError
from milvane.domain.models import Model


class Dialect(Protocol):
    """How one dialect says that something went wrong: its `errors` module."""

    def answer_error(
        self, error: ServiceError, *, request_id: str, model: Model | None
    ) -> Response:
        """Answer a failure that the domain knows."""

    def answer_http_refusal(
        self, refusal: HTTPException, *, request_id: str, method: str, path: str
    ) -> Response:
        """Answer what HTTP alone settles: unknown path, wrong method, too large a body."""

    def answer_unexpected(self, request_id: str) -> Response:
        """Answer a failure that nobody foresaw."""


NATIVE_ALIASES = ("/api/v1", "/compatible-mode/v1")
"""Bare addresses that some documents give for the native API; they take native bodies."""

_BY_PREFIX: tuple[tuple[str, Dialect], ...] = (
    ("/v3/openapi/", aisearch),
    ("/api/v1/", dashscope),
    ("/manage/", management),
    (OSS_PATH, oss),
)


def dialect_of(path: str) -> Dialect:
    """Choose the dialect of a path; OpenAI's where no other claims it."""
    if path in NATIVE_ALIASES:
        return dashscope
    return next((dialect for prefix, dialect in _BY_PREFIX if path.startswith(prefix)), openai)


def answer_unexpected(request_id: str, path: str) -> Response:
    """Say "internal error" in the dialect of a path."""
    return dialect_of(path).answer_unexpected(request_id)
