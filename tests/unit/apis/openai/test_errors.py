"""Every failure of the domain has words and a status in the dialect."""

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from milvane.apis.openai.errors import (
    TABLE,
    answer_error,
    answer_http_refusal,
    answer_unexpected,
    message_of,
)
from milvane.apis.openai.wire import ErrorAnswer
from milvane.domain import errors as domain_errors
from milvane.domain.catalogue import find_model
from milvane.domain.errors import (
    DimensionNotOffered,
    EmptyInput,
    ErrorKind,
    InputTooLong,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    QuotaExceeded,
    ServiceError,
    UpstreamUnavailable,
)

V4 = find_model("text-embedding-v4")
V2 = find_model("text-embedding-v2")
RANGE = "<400> InternalError.Algo.InvalidParameter: Range of input length should be "


def body_of(error: ServiceError) -> dict[str, Any]:
    """Answer an error and read the body."""
    content = answer_error(error, request_id="id-1", model=V4).body
    ErrorAnswer.model_validate_json(bytes(content))
    body: dict[str, Any] = json.loads(bytes(content))
    return body


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_row(kind: ErrorKind) -> None:
    """No failure falls through to a bare 500."""
    row = TABLE[kind]
    assert 400 <= row.status < 600
    assert row.code
    assert row.type


@pytest.mark.parametrize("kind", ErrorKind)
def test_only_failures_worth_a_retry_look_like_it(kind: ErrorKind) -> None:
    """Clients of the dialect repeat 429 and 5xx by themselves; no refusal for good has these."""
    kinds = {
        each.kind: each.retryable
        for each in vars(domain_errors).values()
        if isinstance(each, type) and each.__base__ is ServiceError
    }
    if kinds[kind]:
        assert TABLE[kind].status in {429, 503, 504}


def test_body_has_the_documented_shape() -> None:
    """All keys are there, in the dialect's nesting, with the id twice."""
    assert body_of(InvalidInput("no", parameter="dimension")) == {
        "error": {
            "message": "no",
            "type": "InvalidParameter",
            "param": "dimensions",
            "code": "InvalidParameter",
        },
        "id": "id-1",
        "request_id": "id-1",
    }
    assert body_of(UpstreamUnavailable("later"))["error"]["param"] is None


def test_unknown_model_is_said_in_the_documented_words() -> None:
    """The documented text comes first, then what the catalogue has."""
    error = body_of(ModelNotFound("gpt", known="a, b"))["error"]
    expected = "The model gpt does not exist or you do not have access to it."
    assert error["message"].startswith(expected)
    assert "a, b" in error["message"]
    assert error["code"] == "model_not_found"
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(("model", "limit"), [(V4, 8192), (V2, 2048)])
def test_length_is_refused_in_the_documented_words(model, limit: int) -> None:
    """Empty and too long are one documented text, with the model's limit, then our own facts."""
    empty = EmptyInput(index=3)
    too_long = InputTooLong(index=4, tokens=9000, max_tokens=limit, model=model.name)
    for error, index in ((empty, 3), (too_long, 4)):
        message = message_of(error, model)
        assert message.startswith(f"{RANGE}[1, {limit}]")
        assert f"input {index} " in message


def test_dimension_is_refused_in_the_documented_words() -> None:
    """The text that clients look for comes first, with the dimensions that are offered."""
    error = DimensionNotOffered(dimension=7, model=V4.name, offered=str(V4.dimensions))
    message = message_of(error, V4)
    assert message.startswith(
        "<400> InternalError.Algo.InvalidParameter: Value error, dimension for embedding v4 is "
        "invalid, its value shold be in [64 to 2048]"
    )
    assert "no dimension 7" in message


@pytest.mark.parametrize("kind", [Overloaded, QuotaExceeded])
@pytest.mark.parametrize(
    ("retry_after_s", "seconds", "milliseconds"),
    [(0.0, "0", "0"), (0.2, "1", "200"), (1.0, "1", "1000"), (1.0001, "2", "1001")],
)
def test_retry_is_never_invited_too_early(
    kind: type[Overloaded] | type[QuotaExceeded],
    retry_after_s: float,
    seconds: str,
    milliseconds: str,
) -> None:
    """Both headers are there and rounded up."""
    error = kind("full", retry_after_s=retry_after_s)
    answer = answer_error(error, request_id="id-1", model=None)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == seconds
    assert answer.headers["retry-after-ms"] == milliseconds


def test_other_failures_do_not_invite_a_retry() -> None:
    """A time to wait is only given where it is known."""
    answer = answer_error(UpstreamUnavailable("later"), request_id="id-1", model=None)
    assert answer.status_code == 503
    assert "retry-after" not in answer.headers


def test_wrong_method_keeps_the_allowed_ones() -> None:
    """The refusal of a method still says which are allowed."""
    refusal = HTTPException(405, headers={"Allow": "POST"})
    answer = answer_http_refusal(refusal, request_id="id-1", method="PUT", path="/v1/embeddings")
    assert answer.headers["allow"] == "POST"
    body = ErrorAnswer.model_validate_json(bytes(answer.body))
    assert body.error.message == "Request method 'PUT' is not supported."


def test_unexpected_failure_gives_an_id_to_ask_with() -> None:
    """The caller can quote the id; nothing else is said."""
    answer = answer_unexpected("id-1")
    body = ErrorAnswer.model_validate_json(bytes(answer.body))
    assert answer.status_code == 500
    assert "id-1" in body.error.message
