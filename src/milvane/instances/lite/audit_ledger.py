"""
The account of each collection, in a file that a dying process cannot leave half-written.

The file is mapped into memory: what is written there outlives the process, at the cost of a
microsecond. Two places take turns, each with a checksum, so that one of them is always whole. The
file is in the collection's folder, and so is renamed, emptied and dropped with it.
"""

# ruff: noqa: SLF001 - sequence numbers and segments Milvus Lite keeps to itself

from __future__ import annotations

import mmap
import struct
import threading
import zlib
from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from milvane.instances.lite.audit import Account

if TYPE_CHECKING:
    from milvus_lite.engine.collection import Collection

FILE_NAME = "milvane-account"

_CONTENT = struct.Struct("<8Q")  # generation, and the account's seven numbers
_CHECK = struct.Struct("<I")
_PLACE_BYTES = 128
_FILE_BYTES = 2 * _PLACE_BYTES
_numbers = attrgetter(*(each.name for each in fields(Account)))


def read_account(folder: Path) -> Account | None:
    """Read a collection's account; none if it has none that is whole."""
    try:
        content = (folder / FILE_NAME).read_bytes()
    except OSError:
        return None
    found = _newest(content)
    return None if found is None else found[1]


def _newest(content: bytes) -> tuple[int, Account] | None:
    whole = []
    for start in (0, _PLACE_BYTES):
        place = content[start : start + _PLACE_BYTES]
        if len(place) < _CONTENT.size + _CHECK.size:
            continue
        packed = place[: _CONTENT.size]
        (check,) = _CHECK.unpack_from(place, _CONTENT.size)
        generation, *numbers = _CONTENT.unpack(packed)
        if check == zlib.crc32(packed):
            whole.append((generation, Account(*numbers)))
    return max(whole, key=lambda each: each[0], default=None)


class Ledger:
    """Keeps one collection's account on disk."""

    def __init__(self, folder: Path, account: Account) -> None:
        """
        Begin with an account, in place of what is there.

        Args:
            folder: The collection's.

            account: What the collection holds now.

        Raises:
            OSError: If the file cannot be made.
        """
        path = folder / FILE_NAME
        found = _newest(path.read_bytes()) if path.exists() else None
        with path.open("ab") as file:
            file.truncate(_FILE_BYTES)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FILE_BYTES)
        self._generation = 0 if found is None else found[0]
        self._account = account
        # Guards the account: a merge changes the segments beside a writer.
        self._lock = threading.Lock()
        with self._lock:
            self._write()

    @property
    def account(self) -> Account:
        """What is written down now."""
        return self._account

    def acknowledge(self, seq: int, *, rows: int, tombstones: int) -> None:
        """
        Write down that a write is about to be acknowledged.

        Args:
            seq: The highest sequence number that it took.

            rows: How many it wrote.

            tombstones: How many keys it deleted.
        """
        with self._lock:
            before = self._account
            self._account = replace(
                before,
                acknowledged_seq=max(before.acknowledged_seq, seq),
                rows=before.rows + rows,
                tombstones=before.tombstones + tombstones,
            )
            self._write()

    def commit(self, seq: int, *, manifest_version: int, segment_rows: int) -> None:
        """Write down that everything up to a sequence number is in segments now."""
        with self._lock:
            self._account = replace(
                self._account,
                base_seq=seq,
                acknowledged_seq=max(self._account.acknowledged_seq, seq),
                rows=0,
                tombstones=0,
                manifest_version=manifest_version,
                segment_rows=segment_rows,
            )
            self._write()

    def recount(self, *, manifest_version: int, segment_rows: int) -> None:
        """Write down what the segments hold after they were changed."""
        with self._lock:
            self._account = replace(
                self._account, manifest_version=manifest_version, segment_rows=segment_rows
            )
            self._write()

    def _write(self) -> None:
        self._generation += 1
        packed = _CONTENT.pack(self._generation, *_numbers(self._account))
        start = self._generation % 2 * _PLACE_BYTES
        self._map[start : start + _CONTENT.size + _CHECK.size] = packed + _CHECK.pack(
            zlib.crc32(packed)
        )


def attach(collection: Collection, ledger: Ledger) -> None:
    """Have what moves and merges a collection's rows keep its ledger."""
    collection._milvane_ledger = ledger


def ledger_of(collection: Collection) -> Ledger | None:
    """Return a collection's ledger; none while it is being opened."""
    return getattr(collection, "_milvane_ledger", None)


def note_commit(collection: Collection, seq: int) -> None:
    """Hear that all rows of a collection are in segments, up to a sequence number."""
    ledger = ledger_of(collection)
    if ledger is not None:
        ledger.commit(
            seq,
            manifest_version=collection._manifest.version,
            segment_rows=_segment_rows(collection),
        )


def note_change(collection: Collection) -> None:
    """Hear that segments were merged, or the manifest written for another reason."""
    ledger = ledger_of(collection)
    if ledger is not None:
        with collection._maintenance_lock:  # keeps version and segments together
            ledger.recount(
                manifest_version=collection._manifest.version,
                segment_rows=_segment_rows(collection),
            )


def _segment_rows(collection: Collection) -> int:
    return sum(segment.num_rows for segment in tuple(collection._segment_cache.values()))
