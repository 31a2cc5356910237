"""Whether and when a request is sent again."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from milvane.domain.retrying import (
    Failure,
    is_passing_status,
    parse_retry_after,
    plan_retry,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)


def plan(failure: Failure, **changes: float) -> float | None:
    """Plan the retry of a first attempt of three, with much time left."""
    given = {"attempts": 1, "max_attempts": 3, "time_left_s": 30.0, "jitter": 0.0} | changes
    return plan_retry(failure, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_some_statuses_pass(status: int) -> None:
    """The same request may succeed later."""
    assert is_passing_status(status)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 422, 501, 505])
def test_other_statuses_stay(status: int) -> None:
    """The same request would be refused again."""
    assert not is_passing_status(status)


def test_pauses_double() -> None:
    """One second, then two, and up to a quarter more by chance."""
    failure = Failure("", is_passing=True)
    assert plan(failure) == 1.0
    assert plan(failure, attempts=2) == 2.0
    assert plan(failure, attempts=2, jitter=1.0) == 2.5


def test_attempts_and_time_end() -> None:
    """No attempt is made that is one too many, or that would come too late."""
    failure = Failure("", is_passing=True)
    assert plan(failure, attempts=3) is None
    assert plan(failure, time_left_s=1.0) is None
    assert plan(failure, time_left_s=1.1) == 1.0
    assert plan(Failure("", is_passing=False)) is None


def test_asked_wait_wins() -> None:
    """What the server asks for counts, be it shorter or longer; not beyond the time left."""
    assert plan(Failure("", is_passing=True, retry_after_s=0.0)) == 0.0
    assert plan(Failure("", is_passing=True, retry_after_s=20.0)) == 20.0
    assert plan(Failure("", is_passing=True, retry_after_s=40.0)) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("5", 5.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Mon, 04 May 2026 12:00:30 GMT", 30.0),
        ("Mon, 04 May 2026 11:00:00 GMT", 0.0),
        ("Mon, 04 May 2026 12:00:30", 30.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """Whatever else stands there is as if nothing did."""
    assert parse_retry_after(value, now=NOW) == seconds
