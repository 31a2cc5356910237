"""Calls into sums."""

from datetime import datetime, timedelta, timezone

from milvane.domain.usage import Operation, Outcome, UsageKey, UsageRecord
from milvane.metering.folding import STEPS_S, Slot, floor_to, fold

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
KEY = UsageKey("text-embedding-v4", "local", "default", Operation.INSERT, "root", "root")


def call(after_s: float, outcome: Outcome = Outcome.SUCCESS, tokens: int = 10) -> UsageRecord:
    """Make a call some time after noon."""
    return UsageRecord(
        KEY, NOON + timedelta(seconds=after_s), 0.004, outcome, inputs=2, tokens=tokens
    )


def test_call_is_counted_once_in_every_step() -> None:
    """In the ten seconds, the minute and the hour that it ended in."""
    folded = fold([call(65.5)])
    begins = {slot.step_s: slot.begins_at - NOON for slot in folded}
    assert begins == {10: timedelta(seconds=60), 60: timedelta(seconds=60), 3600: timedelta(0)}
    assert all(sums.tokens == 10 and sums.inputs == 2 for sums in folded.values())


def test_calls_on_the_border_belong_to_the_step_that_begins() -> None:
    """Half-open steps: the end is not inside."""
    folded = fold([call(9.999), call(10.0)])
    assert folded[Slot(10, NOON, KEY)].requests == 1
    assert folded[Slot(10, NOON + timedelta(seconds=10), KEY)].requests == 1
    assert folded[Slot(60, NOON, KEY)].requests == 2


def test_only_successes_have_used_anything() -> None:
    """A refusal and a failure are requests without tokens."""
    folded = fold([call(1), call(1, Outcome.REFUSED), call(1, Outcome.FAILED)])
    sums = folded[Slot(60, NOON, KEY)]
    assert (sums.requests, sums.successes, sums.refusals, sums.tokens) == (3, 1, 1, 10)
    assert sums.duration_us == 4000
    assert sum(sums.latency.values()) == 1


def test_steps_are_counted_in_utc() -> None:
    """The same instant is in the same step, whatever zone it is told in."""
    east = timezone(timedelta(hours=5, minutes=30))
    for step_s in STEPS_S:
        assert floor_to(NOON.astimezone(east), step_s) == floor_to(NOON, step_s)
