"""
Records as lines of files: the first, quick and durable form of usage.

A line is written with one system call before its call is answered, so it survives the death of the
process (and with `fsync` that of the machine). A file is closed before it is read, and removed only
when what it says is in the database.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson

from milvane.domain.errors import UpstreamUnavailable
from milvane.domain.usage import Operation, Outcome, UsageKey, UsageRecord

LOG = logging.getLogger(__name__)

_SUFFIX = ".usage"


class Journal:
    """Appends records to a file of its own in a folder that no other process writes to."""

    def __init__(self, folder: Path, *, fsync: bool, max_unwritten: int) -> None:
        self._folder = folder
        self._fsync = fsync
        self._max_unwritten = max_unwritten
        self._unwritten: deque[bytes] = deque()
        self._file: int | None = None
        self._path: Path | None = None

    @property
    def unwritten(self) -> int:
        """Records that the disk has not taken yet."""
        return len(self._unwritten)

    def append(self, record: UsageRecord) -> None:
        """
        Write a record down.

        Raises:
            UpstreamUnavailable: If the disk has taken none for so long that too many wait.
        """
        if len(self._unwritten) >= self._max_unwritten:
            self._flush()
        if len(self._unwritten) >= self._max_unwritten:
            raise UpstreamUnavailable(
                f"usage cannot be recorded in {self._folder.name}: free some disk space"
            )
        self._unwritten.append(write_line(record))
        self._flush()

    def close_segment(self) -> None:
        """End the present file, so that it may be read; the next record begins another one."""
        self._flush()
        if self._file is not None:
            os.close(self._file)
            self._file = self._path = None

    def list_segments(self) -> list[Path]:
        """List the files that are closed, oldest first, those of earlier processes included."""
        paths = self._folder.glob(f"*{_SUFFIX}") if self._folder.exists() else ()
        return sorted(path for path in paths if path != self._path)

    def _flush(self) -> None:
        while self._unwritten:
            line = self._unwritten[0]
            try:
                self._write(line)
            except OSError as error:
                LOG.warning("usage waits in memory: %s", error.strerror)
                return
            self._unwritten.popleft()

    def _write(self, line: bytes) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"{time.time_ns():020d}-{secrets.token_hex(6)}{_SUFFIX}"
            self._path = self._folder / name
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        if os.write(self._file, line) < len(line):
            # The disk filled up inside the line: what follows must begin on a line of its own.
            os.close(self._file)
            self._file = self._path = None
            raise OSError(28, "No space left on device")
        if self._fsync:
            os.fsync(self._file)


def write_line(record: UsageRecord) -> bytes:
    """Spell a record as a line that shows whether it is whole."""
    key = record.key
    fields = [
        record.id,
        record.ended_at.timestamp(),
        record.duration_s,
        record.outcome.value,
        record.error,
        [record.inputs, record.tokens, record.cached_tokens, record.images],
        [key.model, key.provider, key.instance, key.operation.value, key.tenant, key.caller],
    ]
    body = orjson.dumps(fields)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def read_lines(lines: Iterable[bytes]) -> Iterator[UsageRecord]:
    """Read records back; a line that is not whole was never acknowledged, and is passed over."""
    for line in lines:
        checksum, _, body = line.rstrip(b"\n").partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body) or not body:
            LOG.warning("a torn line of usage is passed over")
            continue
        yield _read_record(orjson.loads(body))


def _read_record(fields: list[Any]) -> UsageRecord:
    record_id, ended_at, duration_s, outcome, error, counts, names = fields
    model, provider, instance, operation, tenant, caller = names
    inputs, tokens, cached_tokens, images = counts
    return UsageRecord(
        key=UsageKey(model, provider, instance, Operation(operation), tenant, caller),
        ended_at=datetime.fromtimestamp(ended_at, timezone.utc),
        duration_s=duration_s,
        outcome=Outcome(outcome),
        error=error,
        inputs=inputs,
        tokens=tokens,
        cached_tokens=cached_tokens,
        images=images,
        id=record_id,
    )
