"""What a notification says: templates with fields in braces. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from milvane.domain.errors import InvalidInput
from milvane.metering.alerts.rules import Condition, Rule, Severity, Watched
from milvane.metering.alerts.states import AlertState

TITLE = "[{state}] {rule}"
BODY = (
    "{watched} is {value}; the limit is {operator} {threshold} over {window}.\n"
    "Calls: {filters}. Severity: {severity}. {state} since {since}."
)
MAX_TEMPLATE = 4000

FIELDS = (
    "rule",
    "rule_id",
    "state",
    "severity",
    "watched",
    "operator",
    "threshold",
    "value",
    "window",
    "filters",
    "since",
)
"""What may stand in braces."""

_FIELD = re.compile(r"\{([^{}]*)\}")
_SHARES = (Watched.SUCCESS_RATE, Watched.ERROR_SHARE, Watched.REFUSED_SHARE, Watched.QUOTA_SHARE)
_DURATIONS = (Watched.AVERAGE_S, Watched.P99_S)


def check_template(template: str, *, parameter: str) -> None:
    """
    Look whether a template can be filled.

    Raises:
        InvalidInput: If it is too long, or names a field that there is not.
    """
    if len(template) > MAX_TEMPLATE:
        raise InvalidInput(
            f"{parameter} has at most {MAX_TEMPLATE} characters", parameter=parameter
        )
    for name in _FIELD.findall(template):
        if name not in FIELDS:
            raise InvalidInput(
                f"{parameter} has no field {{{name}}}: there are {', '.join(FIELDS)}",
                parameter=parameter,
            )


def word(rule: Rule, state: AlertState, value: float | None, since: datetime) -> tuple[str, str]:
    """Write the title and the body of a notification."""
    condition = rule.condition
    fields = {
        "rule": rule.name,
        "rule_id": rule.rule_id,
        "state": state.value,
        "severity": rule.severity.value,
        "watched": condition.watched.value,
        "operator": condition.operator.value,
        "threshold": show_value(condition.watched, condition.threshold),
        "value": show_value(condition.watched, value),
        "window": f"{condition.window_s} s",
        "filters": _show_filters(condition),
        "since": f"{since:%Y-%m-%d %H:%M:%S} UTC",
    }
    return _fill(rule.title or TITLE, fields), _fill(rule.body or BODY, fields)


def word_trial(channel: str) -> tuple[str, str, Severity]:
    """Write what the test button sends."""
    return (
        "Milvane can reach you here",
        f"This is a test of the channel {channel}. Nothing is wrong.",
        Severity.INFO,
    )


def show_value(watched: Watched, value: float | None) -> str:
    """Write a number with its unit."""
    if value is None:
        return "not known"
    if watched in _SHARES:
        return f"{value * 100:.4g} %"
    if watched in _DURATIONS:
        return f"{value * 1000:.4g} ms"
    return f"{value:.6g} /s"


def _show_filters(condition: Condition) -> str:
    chosen = [
        *condition.models,
        *condition.instances,
        *(operation.value for operation in condition.operations),
        *condition.quotas,
    ]
    return ", ".join(chosen) or "all"


def _fill(template: str, fields: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda found: fields[found[1]], template)
