"""Records as lines of files."""

from datetime import datetime, timezone
from pathlib import Path

import pytest

from milvane.domain.errors import UpstreamUnavailable
from milvane.domain.usage import Operation, Outcome, UsageKey, UsageRecord
from milvane.metering.journal import Journal, read_lines, write_line

KEY = UsageKey("text-embedding-v4", "local", "default", Operation.SEARCH, "röot", "a b")


def record(tokens: int) -> UsageRecord:
    """Make a record."""
    ended_at = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
    return UsageRecord(KEY, ended_at, 0.0042, Outcome.SUCCESS, tokens=tokens, cached_tokens=1)


def read_all(journal: Journal) -> list[UsageRecord]:
    """Read every closed file."""
    return [
        each
        for path in journal.list_segments()
        for each in read_lines(path.read_bytes().splitlines(keepends=True))
    ]


def test_line_says_all_that_the_record_says() -> None:
    """Nothing is lost or rounded on the way."""
    written = record(7)
    assert list(read_lines([write_line(written)])) == [written]


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    """In order, from the files that are closed."""
    journal = Journal(tmp_path / "usage", fsync=True, max_unwritten=10)
    written = [record(number) for number in range(3)]
    for each in written:
        journal.append(each)
    assert read_all(journal) == [], "the present file is not read"
    journal.close_segment()
    assert read_all(journal) == written


def test_files_of_an_earlier_process_are_found(tmp_path: Path) -> None:
    """Also when it died without closing its file."""
    dead = Journal(tmp_path, fsync=False, max_unwritten=10)
    dead.append(record(1))
    journal = Journal(tmp_path, fsync=False, max_unwritten=10)
    journal.append(record(2))
    journal.close_segment()
    assert sorted(each.tokens for each in read_all(journal)) == [1, 2]


@pytest.mark.parametrize("keep", [0, 1, 9, 40, -1])
def test_torn_line_is_passed_over(keep: int) -> None:
    """Whatever is left of it, its neighbours are read."""
    lines = [write_line(record(1)), write_line(record(2))[:keep] + b"\n", write_line(record(3))]
    tokens = [each.tokens for each in read_lines(b"".join(lines).splitlines(keepends=True))]
    assert tokens == ([1, 2, 3] if keep == -1 else [1, 3])


def test_full_disk_keeps_records_in_memory(tmp_path: Path) -> None:
    """They are written when it takes them again; beyond the bound, calls are refused."""
    folder = tmp_path / "usage"
    folder.write_text("a file where the folder should be")
    journal = Journal(folder, fsync=False, max_unwritten=2)
    journal.append(record(1))
    journal.append(record(2))
    assert journal.unwritten == 2
    with pytest.raises(UpstreamUnavailable, match="disk"):
        journal.append(record(3))
    folder.unlink()
    journal.append(record(4))
    journal.close_segment()
    assert [each.tokens for each in read_all(journal)] == [1, 2, 4]
