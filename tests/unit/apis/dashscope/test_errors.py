"""Every failure speaks the native dialect."""

import httpx
import orjson
import pytest
from starlette.exceptions import HTTPException

from milvane.apis.dashscope.errors import TABLE, answer_error, answer_http_refusal
from milvane.domain.catalogue import find_model
from milvane.domain.errors import (
    DimensionNotOffered,
    EmptyInput,
    ErrorKind,
    InputTooLong,
    InvalidInput,
    ModelNotFound,
    ModelNotServed,
    Overloaded,
    QuotaExceeded,
    RateExceeded,
    ServiceError,
)

MODEL = find_model("text-embedding-v4")


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_row(kind: ErrorKind) -> None:
    """No failure falls through, and none is sent as a success."""
    assert TABLE[kind].status >= 400
    assert TABLE[kind].code


@pytest.mark.parametrize(
    ("error", "status", "code", "opening"),
    [
        (InvalidInput("odd"), 400, "InvalidParameter", "odd"),
        (
            EmptyInput(index=3),
            400,
            "InvalidParameter",
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be "
            "[1, 8192]: input 3",
        ),
        (
            InputTooLong(index=1, tokens=9000, max_tokens=8192, model="m"),
            400,
            "InvalidParameter",
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be "
            "[1, 8192]: input 1",
        ),
        (
            DimensionNotOffered(dimension=3, model="m", offered="64"),
            400,
            "InvalidParameter",
            "<400> InternalError.Algo.InvalidParameter: Value error, dimension for embedding v4 "
            "is invalid, its value shold be in [64]",
        ),
        (ModelNotFound("m", known="k"), 400, "InvalidParameter", "Model not exist."),
        (ModelNotServed("pull it"), 503, "ModelUnavailable", "pull it"),
        (Overloaded("full", retry_after_s=1), 429, "Throttling", "Requests throttling triggered."),
        (
            QuotaExceeded("spent", retry_after_s=1),
            429,
            "Throttling.AllocationQuota",
            "Allocated quota exceeded, please increase your quota limit.",
        ),
        (
            RateExceeded("fast", retry_after_s=1),
            429,
            "Throttling.RateQuota",
            "Requests rate limit exceeded, please try again later.",
        ),
    ],
)
def test_error_has_its_documented_code_and_words(
    error: ServiceError, status: int, code: str, opening: str
) -> None:
    """The body is flat, as the classic client reads no other."""
    answer = answer_error(error, request_id="r", model=MODEL)
    body = orjson.loads(answer.body)
    assert (answer.status_code, body["code"], body["request_id"]) == (status, code, "r")
    assert set(body) == {"code", "message", "request_id"}
    assert body["message"].startswith(opening)
    assert answer.headers["content-type"] == "application/json"


def test_refusal_to_wait_out_says_how_long() -> None:
    """A client that honours the header comes back in time, not too soon."""
    answer = answer_error(Overloaded("full", retry_after_s=0.25), request_id="r", model=None)
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("1", "250")


@pytest.mark.parametrize(
    ("status", "answered", "code", "words"),
    [
        (404, 404, "InvalidParameter", "url error, please check url"),
        (405, 405, "InvalidParameter", "Request method 'PUT' is not supported."),
        (413, 400, "BadRequest.TooLarge", "Payload Too Large."),
    ],
)
def test_what_http_settles_is_said_in_the_dialect(
    status: int, answered: int, code: str, words: str
) -> None:
    """Not even an unknown path gets another shape."""
    refusal = HTTPException(status, "Payload Too Large.")
    answer = answer_http_refusal(refusal, request_id="r", method="PUT", path="/api/v1/x")
    body = orjson.loads(answer.body)
    assert (answer.status_code, body["code"]) == (answered, code)
    assert body["message"].startswith(words)


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/nothing", "/api/v1/services/x"])
async def test_unknown_path_is_refused_in_the_dialect(client: httpx.AsyncClient, path: str) -> None:
    """Whatever is below the prefix has flat errors."""
    answer = await client.get(path)
    assert answer.status_code in {404, 405}
    assert set(answer.json()) == {"code", "message", "request_id"}
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
