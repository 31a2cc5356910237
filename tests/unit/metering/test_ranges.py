"""Times as people write them."""

from datetime import datetime, timedelta, timezone

import pytest

from milvane.domain.errors import InvalidInput
from milvane.metering.ranges import choose_step_s, parse_instant, parse_span_s

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30), ("10m", 600), (" 1.5h ", 5400), ("7d", 604_800), ("2w", 1_209_600), ("45", 45)],
)
def test_span_is_read(text: str, expected: float) -> None:
    """With a unit, or bare seconds."""
    assert parse_span_s(text, parameter="step") == expected


@pytest.mark.parametrize("text", ["", "h", "-5m", "5 parsecs", "٣h", "1e3s", "999999w", "nan"])
def test_nonsense_is_not_a_span(text: str) -> None:
    """It is refused by the parameter's name."""
    with pytest.raises(InvalidInput) as caught:
        parse_span_s(text, parameter="step")
    assert caught.value.parameter == "step"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("2h", NOW - timedelta(hours=2)),
        ("2026-02-28T00:00:00Z", datetime(2026, 2, 28, tzinfo=timezone.utc)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=timezone.utc)),
        ("2026-02-28T08:00:00+08:00", datetime(2026, 2, 28, tzinfo=timezone.utc)),
    ],
)
def test_instant_is_read(text: str, expected: datetime) -> None:
    """Relative, or ISO 8601; without a zone it is UTC."""
    assert parse_instant(text, NOW, parameter="since") == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "12:00"])
def test_nonsense_is_not_an_instant(text: str) -> None:
    """The message shows how to write one."""
    with pytest.raises(InvalidInput, match="2026-01-31T12:00:00Z"):
        parse_instant(text, NOW, parameter="since")


@pytest.mark.parametrize(
    ("span_s", "expected"),
    [(60, 10), (3600, 20), (86_400, 600), (30 * 86_400, 14_400), (1e9, 49 * 86_400)],
)
def test_step_is_chosen_for_a_readable_chart(span_s: float, expected: int) -> None:
    """Some 240 points, of a width that people use."""
    assert choose_step_s(NOW - timedelta(seconds=span_s), NOW) == expected
