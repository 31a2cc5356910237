"""Private folders for Unix sockets: those of processes that were killed do not pile up."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "milvane-"
_DRAFT_PREFIX = ".milvane-"
_LOCK = "lock"


@contextmanager
def socket_folder(parent: Path | None = None) -> Iterator[Path]:
    """
    Make a folder that only this user can look into, and remove it in the end.

    Each is locked by the process that uses it. Those that nobody locks any more are removed first.

    Args:
        parent: Where; the system's folder for temporary files if not given. The paths of sockets
            have to be short.
    """
    root = parent or Path(tempfile.gettempdir())
    for leftover in root.glob(f"{_PREFIX}*"):
        _remove_if_unused(leftover)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT_PREFIX, dir=root))
    lock = os.open(draft / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only now it has a name that others look for, and find in use.
        folder = draft.rename(draft.with_name(draft.name.removeprefix(".")))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _remove_if_unused(folder: Path) -> None:
    with suppress(OSError):  # somebody else's, or being removed by another start
        if folder.lstat().st_uid != os.getuid():
            return
        lock = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
