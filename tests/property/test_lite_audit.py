from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from milvane.instances.lite.audit import Account, Evidence, compare, count_lost, open_account
from milvane.instances.lite.audit_ledger import Ledger, read_account
from milvane.instances.lite.journal import CollectionKey

KEY = CollectionKey("default", "rows")
writes = st.tuples(st.sampled_from(["insert", "delete"]), st.integers(1, 5))
steps = st.lists(st.one_of(writes, st.sampled_from(["commit", "unheard commit", "unacknowledged"])))


class History:
    """What a collection's files and account become, step by step."""

    def __init__(self, folder: Path) -> None:
        self.seq = self.committed = self.version = 0
        self.rows: list[int] = []
        self.tombstones: list[int] = []
        self.ledger = Ledger(folder, Account())

    def step(self, step: str | tuple[str, int]) -> None:
        """Do one thing that the engine does, or die in the middle of it."""
        if isinstance(step, tuple):
            self.write(*step)
        elif step == "unacknowledged":
            self.seq += 1
            self.rows.append(self.seq)
            self.start_again()
        else:
            self.committed, self.version = self.seq, self.version + 1
            self.rows, self.tombstones = [], []
            if step == "commit":
                self.ledger.commit(self.seq, manifest_version=self.version, segment_rows=0)
            else:
                self.start_again()

    def start_again(self) -> None:
        """Begin a new account after a death, if nothing is missing."""
        assert compare(self.ledger.account, self.evidence()) == []
        account = open_account(self.ledger.account, self.evidence())
        self.ledger = Ledger(Path(tempfile.mkdtemp(dir=FOLDER.name)), account)

    def write(self, kind: str, count: int) -> None:
        """Insert rows with a number each, or delete keys with one number for all."""
        if kind == "insert":
            numbers = list(range(self.seq + 1, self.seq + 1 + count))
            self.rows += numbers
            self.seq += count
            self.ledger.acknowledge(self.seq, rows=count, tombstones=0)
        else:
            self.seq += 1
            self.tombstones += [self.seq] * count
            self.ledger.acknowledge(self.seq, rows=0, tombstones=count)

    def evidence(self) -> Evidence:
        """Say what the files hold now."""
        return Evidence(
            key=KEY,
            manifest_version=self.version,
            committed_seq=self.committed,
            segments=(),
            doubled=0,
            logged_rows=np.array(self.rows, dtype=np.int64),
            logged_tombstones=np.array(self.tombstones, dtype=np.int64),
        )


FOLDER = tempfile.TemporaryDirectory(prefix="milvane-audit-")


def run(history_steps: list[str | tuple[str, int]]) -> History:
    """Make a history."""
    history = History(Path(tempfile.mkdtemp(dir=FOLDER.name)))
    for step in history_steps:
        history.step(step)
    return history


@given(steps)
@example([("insert", 3), "unheard commit", ("delete", 2), "unacknowledged"])
def test_no_death_raises_a_false_alarm(history_steps: list[str | tuple[str, int]]) -> None:
    """Whatever was under way when the process died, nothing is reported if nothing is lost."""
    history = run(history_steps)
    assert compare(history.ledger.account, history.evidence()) == []


@given(steps, st.integers(1, 5), st.integers(0, 1_000))
@example([("insert", 1), "commit"], 2, 0)
@example(["unacknowledged"], 1, 0)
def test_each_lost_row_is_counted(
    history_steps: list[str | tuple[str, int]], count: int, which: int
) -> None:
    """A row that was acknowledged and is gone from the log is missed, wherever it was."""
    history = run(history_steps)
    history.write("insert", count)
    del history.rows[len(history.rows) - 1 - which % count]
    assert count_lost(history.ledger.account, history.evidence()) == 1
    (finding,) = compare(history.ledger.account, history.evidence())
    assert "1 acknowledged rows or deletions are missing" in finding.message


@given(steps)
def test_lost_rows_stay_on_the_account(history_steps: list[str | tuple[str, int]]) -> None:
    """A later start says again what an earlier one missed."""
    history = run(history_steps)
    history.write("insert", 4)
    history.rows = history.rows[:-4]
    account = open_account(history.ledger.account, history.evidence())
    assert account.lost == 4
    assert [each.count for each in compare(account, history.evidence())] == [4]


@given(st.integers(0, 2), st.integers(0, 255), st.integers(0, 255))
def test_half_written_account_is_the_one_before(writes: int, place: int, value: int) -> None:
    """A torn file never yields numbers that were not written."""
    folder = Path(tempfile.mkdtemp(dir=FOLDER.name))
    ledger = Ledger(folder, Account())
    known = [ledger.account]
    for seq in range(1, writes + 1):
        ledger.acknowledge(seq, rows=1, tombstones=0)
        known.append(ledger.account)
    file = folder / "milvane-account"
    content = bytearray(file.read_bytes())
    content[place] = value
    file.write_bytes(bytes(content))
    # The first place stands alone until the first write.
    assert read_account(folder) in (known if writes else [*known, None])
