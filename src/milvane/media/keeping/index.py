"""
What is known of kept files, in a SQLite file beside them. Blocks; belongs to one thread.

Files are never looked for in here: all of it is read once, at the start. A row is written after its
file is in place, so that what a crash leaves is a file without a row, or a row of an older use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from milvane.domain.contents import MediaFacts
from milvane.domain.models import Modality
from milvane.media.fetching.fetcher import Validators

_FORM = 1
"""Version of the tables; a file of another one is replaced."""

_TABLES = """
CREATE TABLE IF NOT EXISTS contents (
    digest BLOB PRIMARY KEY,
    modality TEXT NOT NULL,
    format TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    used_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS addresses (
    key BLOB PRIMARY KEY,
    digest BLOB NOT NULL,
    etag TEXT NOT NULL,
    last_modified TEXT NOT NULL,
    asked_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS addresses_by_digest ON addresses (digest);
"""


@dataclass(frozen=True, slots=True)
class KnownAddress:
    """What an address held when its server was last asked."""

    digest: bytes
    validators: Validators
    asked_at: float
    """Seconds since 1970."""


class MediaIndex:
    """The connection; opened with `open`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file; one that is damaged, or of another version, is begun anew."""
        try:
            self._open()
        except sqlite3.DatabaseError:
            self.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            self._open()

    def close(self) -> None:
        """Close, if it is open."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def read_contents(self) -> list[tuple[MediaFacts, float]]:
        """Read what is known of files and when each was used, those unused for longest first."""
        rows = self._use().execute("SELECT * FROM contents ORDER BY used_at")
        return [
            (MediaFacts(digest, Modality(modality), *facts), used_at)
            for digest, modality, *facts, used_at in rows
        ]

    def read_addresses(self) -> list[tuple[bytes, KnownAddress]]:
        """Read what addresses held, those asked longest ago first."""
        rows = self._use().execute("SELECT * FROM addresses ORDER BY asked_at")
        return [
            (key, KnownAddress(digest, Validators(etag, last_modified), asked_at))
            for key, digest, etag, last_modified, asked_at in rows
        ]

    def write_content(self, facts: MediaFacts, used_at: float) -> None:
        """Record a file."""
        values = (
            facts.digest,
            facts.modality.value,
            facts.format,
            facts.size_bytes,
            facts.width,
            facts.height,
            facts.frames,
            facts.duration_s,
            used_at,
        )
        marks = ",".join("?" * len(values))
        self._use().execute(f"INSERT OR REPLACE INTO contents VALUES ({marks})", values)  # noqa: S608

    def write_address(self, key: bytes, known: KnownAddress) -> None:
        """Record what an address holds."""
        told = known.validators
        self._use().execute(
            "INSERT OR REPLACE INTO addresses VALUES (?,?,?,?,?)",
            (key, known.digest, told.etag, told.last_modified, known.asked_at),
        )

    def remove(self, digests: Iterable[bytes], keys: Iterable[bytes] = ()) -> None:
        """Forget files, the addresses that held them, and other addresses."""
        connection = self._use()
        connection.execute("BEGIN")
        gone = [(digest,) for digest in digests]
        connection.executemany("DELETE FROM contents WHERE digest = ?", gone)
        connection.executemany("DELETE FROM addresses WHERE digest = ?", gone)
        connection.executemany("DELETE FROM addresses WHERE key = ?", [(key,) for key in keys])
        connection.execute("COMMIT")

    def write_uses(self, used_at: Iterable[tuple[bytes, float]]) -> None:
        """Record when files were used."""
        connection = self._use()
        connection.execute("BEGIN")
        connection.executemany(
            "UPDATE contents SET used_at = ? WHERE digest = ?",
            [(moment, digest) for digest, moment in used_at],
        )
        connection.execute("COMMIT")

    def _use(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("the file is closed")
        return self._connection

    def _open(self) -> None:
        self._connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=10, check_same_thread=False
        )
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
            self._connection.execute(f"PRAGMA {pragma}")
        (form,) = self._connection.execute("PRAGMA user_version").fetchone()
        if form not in (0, _FORM):
            raise sqlite3.DatabaseError("another version")
        self._connection.executescript(_TABLES)
        self._connection.execute(f"PRAGMA user_version = {_FORM}")
