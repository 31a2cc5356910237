"""What may be watched, and what a notification says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from milvane.domain.errors import InvalidInput
from milvane.domain.usage import Operation
from milvane.metering.alerts.rules import Condition, Operator, Rule, Severity, Watched
from milvane.metering.alerts.states import AlertState
from milvane.metering.alerts.wording import FIELDS, check_template, show_value, word

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
CONDITION = Condition(Watched.SUCCESS_RATE, Operator.BELOW, 0.9, resolve_threshold=0.95)
RULE = Rule("rule-1", "Too many failures", CONDITION, Severity.CRITICAL, [], "", "", True, None, AT)


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"resolve_threshold": 0.8}, "resolve_threshold"),
        ({"operator": Operator.AT_LEAST}, "resolve_threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"window_s": 15}, "window_s"),
        ({"window_s": 0}, "window_s"),
        ({"window_s": 3610}, "window_s"),
        ({"window_s": 90_000}, "window_s"),
        ({"for_s": -1.0}, "for_s"),
        ({"resolve_for_s": 1e9}, "resolve_for_s"),
        ({"quotas": ["tenant:north"]}, "quotas"),
        ({"watched": Watched.QUOTA_SHARE, "models": ["m"]}, "models"),
    ],
)
def test_condition_without_sense_is_told_by_name(
    changes: dict[str, object], parameter: str
) -> None:
    """The message says what would make sense."""
    CONDITION.check()
    with pytest.raises(InvalidInput) as failure:
        replace(CONDITION, **changes).check()
    assert failure.value.parameter == parameter


@pytest.mark.parametrize(
    ("operator", "broken"),
    [
        (Operator.ABOVE, [False, False, True]),
        (Operator.AT_LEAST, [False, True, True]),
        (Operator.BELOW, [True, False, False]),
        (Operator.AT_MOST, [True, True, False]),
    ],
)
def test_limit_belongs_to_one_side(operator: Operator, broken: list[bool]) -> None:
    """Below it, at it, and above it; without a limit of its own, well is what is not broken."""
    condition = Condition(Watched.QUERIES_PER_S, operator, 5.0)
    assert [condition.is_broken_by(value) for value in (4.0, 5.0, 6.0)] == broken
    assert [not condition.is_well_at(value) for value in (4.0, 5.0, 6.0)] == broken


def test_notification_says_what_an_operator_needs() -> None:
    """Which rule, what it is now, and what was allowed."""
    condition = replace(CONDITION, models=["text-embedding-v4"], operations=[Operation.INSERT])
    title, body = word(replace(RULE, condition=condition), AlertState.FIRING, 0.5, AT)
    assert title == "[firing] Too many failures"
    for part in ("50 %", "< 90 %", "60 s", "text-embedding-v4, insert", "critical", "03:04:05 UTC"):
        assert part in body


def test_template_is_filled_and_nothing_else_is_run() -> None:
    """A field may stand anywhere; what a field's value looks like is not filled again."""
    rule = replace(RULE, name="{value}", title="{rule} {state}!", body="{filters}")
    assert word(rule, AlertState.RESOLVED, None, AT) == ("{value} resolved!", "all")
    check_template(" ".join(f"{{{name}}}" for name in FIELDS), parameter="body")
    for template in ("{nothing}", "{rule.__class__}", "{}", "x" * 4001):
        with pytest.raises(InvalidInput, match="body has"):
            check_template(template, parameter="body")


def test_numbers_have_units() -> None:
    """Shares are percentages, durations milliseconds."""
    assert show_value(Watched.P99_S, 0.0125) == "12.5 ms"
    assert show_value(Watched.TOKENS_PER_S, 1500.0) == "1500 /s"
    assert show_value(Watched.QUOTA_SHARE, 1.2) == "120 %"
    assert show_value(Watched.AVERAGE_S, None) == "not known"
