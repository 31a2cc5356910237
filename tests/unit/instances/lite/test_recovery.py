from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from milvane.instances.lite.journal import Action, CollectionKey, Intent, Journal
from milvane.instances.lite.recovery import (
    LogContent,
    LogFile,
    empty_manifest,
    find_leftover_logs,
    parse_log_name,
    plan_finish,
    read_log,
    recover,
)

OLD = CollectionKey("default", "old")
NEW = CollectionKey("default", "new")
ROWS = pa.RecordBatch.from_pydict({"id": [1, 2, 3]})


def log(number: int, kind: str = "data") -> LogFile:
    """Describe a log file as Milvus Lite names it."""
    return LogFile(Path(f"wal_{kind}_{number:06d}.arrow"), number)


def write_log(path: Path, batches: int) -> None:
    """Write a log of equal batches of three rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, pa.ipc.new_stream(file, ROWS.schema) as writer:
        for _ in range(batches):
            writer.write_batch(ROWS)


def make_collection(folder: Path, manifest: dict[str, Any] | None = None) -> Path:
    """Make a directory that Milvus Lite takes for a collection."""
    folder.mkdir(parents=True)
    (folder / "schema.json").write_text("{}")
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("wal_data_000007.arrow", 7),
        ("wal_delta_1234567.arrow", 1_234_567),
        ("wal_data_7.arrow.tmp", None),
        ("notes.txt", None),
    ],
)
def test_log_files_are_known_by_name(name: str, number: int | None) -> None:
    """Only Milvus Lite's own log files are ever touched."""
    parsed = parse_log_name(Path(name))
    assert (parsed.number if parsed else None) == number


def test_logs_below_the_active_one_are_leftover() -> None:
    """What a committed flush left behind goes; the active log and later ones stay."""
    logs = [log(4), log(3, "delta"), log(3), log(5)]
    assert find_leftover_logs(logs, active_number=4) == [log(3), log(3, "delta")]


def test_no_log_is_leftover_before_the_first_flush() -> None:
    """Without a flush, every row is in the logs only."""
    assert find_leftover_logs([log(1), log(2)], active_number=None) == []


@pytest.mark.parametrize(
    ("intent", "existing", "step"),
    [
        (Intent(Action.DROP, OLD, {}), [OLD], "remove"),
        (Intent(Action.DROP, OLD, {}), [], "remove"),
        (Intent(Action.TRUNCATE, OLD, {}), [], "recreate"),
        (Intent(Action.RENAME, OLD, {"name": "new"}), [NEW], "retarget"),
        (Intent(Action.RENAME, OLD, {"name": "new"}), [OLD], "nothing"),
        (Intent(Action.RENAME, OLD, {"name": "new"}), [OLD, NEW], "nothing"),
    ],
)
def test_changes_that_were_cut_short_are_finished(
    intent: Intent, existing: list[CollectionKey], step: str
) -> None:
    """A removal is finished, a rename follows the directory."""
    assert plan_finish(intent, existing) == step


def test_torn_log_keeps_its_whole_batches(tmp_path: Path) -> None:
    """A write that was cut short hides nothing that came before it."""
    path = tmp_path / "wal_data_000001.arrow"
    write_log(path, batches=3)
    assert read_log(path) == LogContent(batches=3, rows=9, is_torn=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 40])
    content = read_log(path)
    assert content.is_torn
    assert (content.batches, content.rows) == (2, 6)


def test_empty_log_is_torn_and_holds_nothing(tmp_path: Path) -> None:
    """A log whose first write was cut short is no error."""
    path = tmp_path / "wal_data_000001.arrow"
    path.write_bytes(b"")
    assert read_log(path) == LogContent(batches=0, rows=0, is_torn=True)


def test_recovery_removes_leftover_logs_and_reports_torn_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Logs of flushed rows go, in every database; the others stay, torn or not."""
    for root in (tmp_path, tmp_path / "databases" / "media"):
        folder = make_collection(root / "collections" / "articles", {"active_wal_number": 2})
        write_log(folder / "wal" / "wal_data_000001.arrow", batches=1)
        write_log(folder / "wal" / "wal_data_000002.arrow", batches=1)
        torn = folder / "wal" / "wal_delta_000002.arrow"
        write_log(torn, batches=2)
        torn.write_bytes(torn.read_bytes()[:-30])
    with caplog.at_level(logging.WARNING):
        recover(tmp_path)
    left = sorted(path.name for path in tmp_path.rglob("*.arrow"))
    assert left == ["wal_data_000002.arrow"] * 2 + ["wal_delta_000002.arrow"] * 2
    assert caplog.text.count("1 whole batches (3 rows) are kept") == 2


def test_recovery_trusts_the_manifest_that_milvus_lite_will_trust(tmp_path: Path) -> None:
    """With an unreadable manifest, the previous one says which logs are needed."""
    folder = make_collection(tmp_path / "collections" / "articles")
    (folder / "manifest.json").write_text("{")
    (folder / "manifest.json.prev").write_text(json.dumps({"active_wal_number": 1}))
    write_log(folder / "wal" / "wal_data_000001.arrow", batches=1)
    recover(tmp_path)
    assert (folder / "wal" / "wal_data_000001.arrow").exists()


def test_recovery_sets_remains_without_a_schema_aside(tmp_path: Path) -> None:
    """A half-made collection stands in nobody's way, and nothing of it is destroyed."""
    for content in ("first", "second"):
        folder = tmp_path / "collections" / "articles"
        folder.mkdir(parents=True)
        (folder / "rows").write_text(content)
        recover(tmp_path)
        assert not folder.exists()
    kept = {path.read_text() for path in (tmp_path / "recovered").rglob("rows")}
    assert kept == {"first", "second"}


def test_recovery_finishes_a_drop(tmp_path: Path) -> None:
    """A collection whose removal had begun is gone, with its aliases and no others."""
    make_collection(tmp_path / "collections" / "old")
    make_collection(tmp_path / "collections" / "kept")
    (tmp_path / "aliases.json").write_text(json.dumps({"a": "old", "b": "kept"}))
    Journal(tmp_path).begin(Action.DROP, OLD)
    recover(tmp_path)
    assert [path.name for path in (tmp_path / "collections").iterdir()] == ["kept"]
    assert json.loads((tmp_path / "aliases.json").read_text()) == {"b": "kept"}
    assert Journal(tmp_path).intents == ()


def test_recovery_finishes_a_truncation(tmp_path: Path) -> None:
    """A collection that was being emptied is empty, with its schema, indexes and partitions."""
    manifest = {
        "manifest_format_version": 2,
        "version": 9,
        "current_seq": 40,
        "active_wal_number": 3,
        "index_specs": {"vector": {}},
        "partitions": {"_default": {"data_files": ["data/x"], "delta_files": []}, "p": {}},
    }
    Journal(tmp_path).begin(
        Action.TRUNCATE, OLD, schema={"fields": []}, manifest=empty_manifest(manifest)
    )
    recover(tmp_path)
    folder = tmp_path / "collections" / "old"
    assert json.loads((folder / "schema.json").read_text()) == {"fields": []}
    written = json.loads((folder / "manifest.json").read_text())
    assert written["index_specs"] == {"vector": {}}
    assert written["active_wal_number"] is None
    assert written["partitions"] == {
        name: {"data_files": [], "delta_files": []} for name in ("_default", "p")
    }


def test_recovery_finishes_a_rename(tmp_path: Path) -> None:
    """Aliases follow a collection whose directory has its next name already."""
    make_collection(tmp_path / "collections" / "new")
    (tmp_path / "aliases.json").write_text(json.dumps({"a": "old"}))
    Journal(tmp_path).begin(Action.RENAME, OLD, name="new")
    recover(tmp_path)
    assert json.loads((tmp_path / "aliases.json").read_text()) == {"a": "new"}


def test_recovery_of_a_new_directory_does_nothing(tmp_path: Path) -> None:
    """The first start is an ordinary one."""
    recover(tmp_path / "missing")
    recover(tmp_path)
    assert list(tmp_path.iterdir()) == []
