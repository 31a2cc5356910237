"""When a rule fires and when it is over, for any values."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.metering.alerts.rules import Condition, Operator, Watched
from milvane.metering.alerts.states import AlertState, Standing, advance

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
STEP_S = 10.0
MAX_PAUSE_S = 60.0

values = st.one_of(st.none(), st.integers(0, 12).map(float))
gaps = st.sampled_from([STEP_S, STEP_S, STEP_S, 60.0, 61.0])
looks = st.lists(st.tuples(values, gaps), max_size=40)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    """Limits with room between them, and waits of a few looks."""
    operator = draw(st.sampled_from(Operator))
    threshold, room = float(draw(st.integers(3, 9))), float(draw(st.integers(0, 3)))
    return Condition(
        Watched.QUERIES_PER_S,
        operator,
        threshold,
        resolve_threshold=threshold - room if operator.is_upward else threshold + room,
        for_s=STEP_S * draw(st.integers(0, 3)),
        resolve_for_s=STEP_S * draw(st.integers(0, 3)),
    )


def walk(
    condition: Condition, looks: list[tuple[float | None, float]]
) -> list[tuple[float | None, Standing]]:
    """Look again and again; each value with what it led to."""
    now, standing, seen = BEGIN, None, []
    for value, gap_s in looks:
        now += timedelta(seconds=gap_s)
        standing = advance(standing, condition, value, now, max_pause_s=MAX_PAUSE_S)
        seen.append((value, standing))
    return seen


def limits(**changes: float) -> Condition:
    """More than 5 for 20 s fires; 3 and less for 20 s ends it."""
    return Condition(
        Watched.QUERIES_PER_S,
        Operator.ABOVE,
        5.0,
        **({"resolve_threshold": 3.0, "for_s": 20.0, "resolve_for_s": 20.0} | changes),
    )


@given(conditions(), looks)
def test_every_firing_has_one_resolve(
    condition: Condition, looks: list[tuple[float | None, float]]
) -> None:
    """Between two firings lies one resolve, and none is without a firing before it."""
    states = [standing.state for _, standing in walk(condition, looks)]
    walked = pairwise([AlertState.QUIET, *states])
    changes = [after for before, after in walked if after is not before]
    ends = [s for s in changes if s in (AlertState.FIRING, AlertState.RESOLVED)]
    pairs = [AlertState.FIRING, AlertState.RESOLVED] * len(ends)
    assert ends == pairs[: len(ends)]


@given(conditions(), looks)
@example(limits(), [(6.0, 10), (6.0, 10), (6.0, 10), (3.0, 10), (3.0, 10), (3.0, 10)])
@example(limits(), [(6.0, 10), (6.0, 61.0)])  # what was between is not known
@example(limits(), [(6.0, 10)] * 3 + [(3.0, 10), (6.0, 10), (3.0, 10)])  # well with a pause
@example(limits(), [(6.0, 10)] * 3 + [(3.0, 10), (3.0, 61.0)])
@example(limits(), [(5.0, 10)] * 4)  # the limit itself does not break it
def test_firing_and_resolving_take_their_time(
    condition: Condition, looks: list[tuple[float | None, float]]
) -> None:
    """A rule fires after `for_s` of breaking values in a row, and is over after as many good."""
    seen = walk(condition, looks)
    broken_since: datetime | None = None
    well_since: datetime | None = None
    last_at, before = BEGIN, AlertState.QUIET
    for value, standing in seen:
        now = standing.looked_at
        if (now - last_at).total_seconds() > MAX_PAUSE_S:
            broken_since = well_since = None
        broken_since = (broken_since or now) if condition.is_broken_by(value) else None
        well_since = (well_since or now) if condition.is_well_at(value) else None
        is_ripe = broken_since and (now - broken_since).total_seconds() >= condition.for_s
        is_over = well_since and (now - well_since).total_seconds() >= condition.resolve_for_s
        if before is AlertState.FIRING:
            expected = AlertState.RESOLVED if is_over else AlertState.FIRING
        elif broken_since:
            expected = AlertState.FIRING if is_ripe else AlertState.PENDING
        else:
            rests = before is AlertState.RESOLVED
            expected = AlertState.RESOLVED if rests else AlertState.QUIET
        if before is AlertState.FIRING and expected is AlertState.RESOLVED:
            broken_since = None
        if before is not AlertState.FIRING and expected is AlertState.FIRING:
            well_since = None
        assert standing.state is expected
        last_at, before = now, standing.state


@given(conditions(), st.lists(st.booleans(), min_size=1, max_size=40))
def test_value_that_swings_between_the_limits_changes_nothing(
    condition: Condition, sides: list[bool]
) -> None:
    """Once firing, only values beyond the limit to resolve count as good; quiet, only broken."""
    resolve = condition.resolve_threshold
    swinging = [
        value
        for value in (condition.threshold, resolve)
        if value is not None
        and not condition.is_broken_by(value)
        and not condition.is_well_at(value)
    ]
    bad = 100.0 if condition.operator.is_upward else -100.0
    if not swinging:
        return
    swings = [(swinging[side % len(swinging)], STEP_S) for side in sides]
    states = {standing.state for _, standing in walk(condition, swings)}
    assert states == {AlertState.QUIET}
    fired = [(bad, STEP_S)] * 5
    states = {standing.state for _, standing in walk(condition, fired + swings)[5:]}
    assert states == {AlertState.FIRING}


@given(conditions(), st.lists(gaps, min_size=1, max_size=40))
def test_no_data_is_not_a_breach(condition: Condition, pauses: list[float]) -> None:
    """With nothing to say a rule stays quiet."""
    seen = walk(condition, [(None, gap_s) for gap_s in pauses])
    assert {standing.state for _, standing in seen} == {AlertState.QUIET}
