"""
One connection to the SQLite file of kept vectors. Blocks; each belongs to one thread.

SQLite's write-ahead log survives a crash at any point; a checksum with each vector finds what the
disk itself got wrong.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

_FORM = 1
"""Version of the tables; a file of another one is replaced."""

_KEYS_AT_ONCE = 500
_KEYS_TOLD_AT_ONCE = 4096
_ROOM_AT_ONCE = 64
_PAGE_BYTES = 8192
_LOG_BYTES = 8 * 1024 * 1024

_TABLES = """
CREATE TABLE IF NOT EXISTS vectors (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    vector BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS vectors_by_key ON vectors (key);
"""


class Failed(Exception):
    """The disk or the file does not do what it should; the message says what happened."""


class Damaged(Failed):
    """The file is not, or no longer, one that can be read."""


@dataclass(slots=True)
class Found:
    """What was read."""

    vectors: dict[bytes, bytes] = field(default_factory=dict)
    ageing: list[bytes] = field(default_factory=list)
    """Keys among them that will soon make room for new ones."""


class VectorFile:
    """A connection, opened at its first use if not before."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """
        Open the file, or make it.

        Raises:
            Failed: If the disk does not let us.
            Damaged: If it is not a file of ours.
        """
        self.close()
        with _failing():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Opened in one thread, and closed there; transactions are written out below.
            self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
            for pragma in (
                f"page_size = {_PAGE_BYTES}",
                "journal_mode = WAL",
                "synchronous = NORMAL",
                f"journal_size_limit = {_LOG_BYTES}",
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            (form,) = self._connection.execute("PRAGMA user_version").fetchone()
            if form not in (0, _FORM):
                raise Damaged(f"it was written by another version of Milvane (form {form})")
            self._connection.executescript(_TABLES)
            self._connection.execute(f"PRAGMA user_version = {_FORM}")

    def replace(self) -> None:
        """Begin with an empty file; no other connection may be open."""
        self.close()
        with _failing():
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self.open()

    def close(self) -> None:
        """Close, if it is open."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def read(self, keys: Sequence[bytes]) -> Found:
        """
        Read vectors.

        Raises:
            Failed: If the disk does not let us.
            Damaged: If the file, or one of the vectors, is damaged.
        """
        found = Found()
        with self._transaction("BEGIN") as connection:
            oldest, newest = connection.execute("SELECT min(id), max(id) FROM vectors").fetchone()
            ageing_below = (oldest or 0) + ((newest or 0) - (oldest or 0)) / 4
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                some = keys[start : start + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT id, key, checksum, vector FROM vectors WHERE key IN ({marks})",  # noqa: S608 - question marks
                    some,
                )
                for number, key, checksum, vector in rows:
                    if crc32(vector) != checksum:
                        raise Damaged("a vector is not what was written")
                    found.vectors[key] = vector
                    if number < ageing_below:
                        found.ageing.append(key)
        return found

    def tell_keys(self, tell: Callable[[list[bytes]], None]) -> int:
        """
        Tell all keys, many at once; returns how many there are.

        Raises:
            Failed: If the disk does not let us.
            Damaged: If the file is damaged.
        """
        count = 0
        with self._transaction("BEGIN") as connection:
            rows = connection.execute("SELECT key FROM vectors")
            while some := rows.fetchmany(_KEYS_TOLD_AT_ONCE):
                tell([key for (key,) in some])
                count += len(some)
        return count

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        """
        Keep vectors as the newest ones; the oldest make room.

        Raises:
            Failed: If the disk does not let us; nothing was written then.
            Damaged: If the file is damaged.
        """
        rows = [(key, crc32(vector), vector) for key, vector in vectors.items()]
        with self._transaction("BEGIN IMMEDIATE") as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors (key, checksum, vector) VALUES (?, ?, ?)", rows
            )
            while self._used_bytes(connection) > self._max_bytes:
                gone = connection.execute(
                    "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY id LIMIT ?)",
                    (_ROOM_AT_ONCE,),
                )
                if not gone.rowcount:
                    break

    @staticmethod
    def _used_bytes(connection: sqlite3.Connection) -> int:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        return (int(pages) - int(free)) * _PAGE_BYTES

    @contextmanager
    def _transaction(self, beginning: str) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            self.open()  # it failed before, and may work by now
        connection = self._connection
        if connection is None:
            raise Failed("it cannot be opened")
        with _failing():
            try:
                connection.execute(beginning)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:  # a full disk, a folder that cannot be written, ...
        raise Failed(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise Damaged(str(error)) from error
    except OSError as error:
        raise Failed(error.strerror or str(error)) from error
