"""Files that hold one secret of the server: made once, read by the server's user alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from milvane.domain.errors import Conflict
from milvane.storage.syncing import sync

SECRET_BYTES = 32


def open_secret(path: Path, *, loss: str) -> bytes:
    """
    Read a secret of 32 bytes, or make it. Blocks.

    Args:
        path: Its file; that of which of several processes was first counts for all of them.

        loss: What is to be done where it is lost, for the message.

    Raises:
        Conflict: If the file is not one of ours, or cannot be used.
    """
    try:
        if not path.exists():
            _make(path)
        root = bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise Conflict(f"{path} cannot be used: {error.strerror}") from error
    except ValueError:
        root = b""
    if len(root) != SECRET_BYTES:
        raise Conflict(f"{path} does not hold a secret of this server: {loss}")
    return root


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
        sync(draft)
        with contextlib.suppress(FileExistsError):  # another process was first, and its one counts
            os.link(draft, path)
        sync(path.parent)
    finally:
        draft.unlink()
