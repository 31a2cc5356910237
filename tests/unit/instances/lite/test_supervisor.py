from __future__ import annotations

import logging

import pytest

from milvane.instances.lite.supervisor import backoff_s, log_as_ours


def test_first_restart_is_immediate_and_later_ones_slow_down_to_a_cap() -> None:
    """A crash loop costs little, and never ends in giving up."""
    pauses_s = [backoff_s(failures, 5.0) for failures in range(30)]
    assert pauses_s[0] == 0.0
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == 5.0


def test_lines_of_the_process_keep_their_level_and_logger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A warning over there is a warning here."""
    line = '{"level": "WARNING", "logger": "milvane.instances.lite.recovery", "message": "torn"}'
    assert log_as_ours(line) == "torn"
    record = caplog.records[0]
    assert (record.levelno, record.name) == (logging.WARNING, "milvane.instances.lite.recovery")


@pytest.mark.parametrize("line", ["Killed", "[]", '{"level": "INFO"}', '{"level": 1, "x": 2}'])
def test_lines_that_are_no_records_are_logged_as_they_are(
    line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What native libraries print is not lost."""
    caplog.set_level(logging.INFO)
    assert log_as_ours(line) == line
    assert caplog.records[0].getMessage() == line
