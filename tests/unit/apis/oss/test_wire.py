"""The dialect of object stores: parts of objects, and failures."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from milvane.apis.oss.errors import TABLE, answer_error
from milvane.apis.oss.wire import Span, read_span
from milvane.domain.errors import ErrorKind, InvalidInput


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_row(kind: ErrorKind) -> None:
    """No failure falls through, and none is sent as a success."""
    assert TABLE[kind].status >= 400
    assert TABLE[kind].code


def test_error_is_well_formed_whatever_it_says() -> None:
    """A message with the characters of XML is read as it was written."""
    answer = answer_error(InvalidInput("a <b> & 图"), request_id="r<1>", model=None)
    error = ET.fromstring(answer.body)  # noqa: S314 - our own answer
    assert (error.findtext("Message"), error.findtext("RequestId")) == ("a <b> & 图", "r<1>")


@pytest.mark.parametrize(
    ("header", "size_bytes", "span"),
    [
        ("bytes=0-0", 10, Span(0, 0)),
        ("bytes=2-", 10, Span(2, 9)),
        ("bytes=2-99", 10, Span(2, 9)),
        ("bytes=-3", 10, Span(7, 9)),
        ("bytes=-99", 10, Span(0, 9)),
        ("bytes=10-", 10, None),
        ("bytes=5-4", 10, None),
        ("bytes=-0", 10, None),
        ("bytes=-", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=0-", 0, None),
        (None, 10, None),
    ],
)
def test_span_is_within_the_object(header: str | None, size_bytes: int, span: Span | None) -> None:
    """A range that can be met is met; for any other all is given, as OSS does."""
    assert read_span(header, size_bytes) == span
