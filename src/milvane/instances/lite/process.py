"""
The Lite process: `python -m milvane.instances.lite.process`, started by `supervisor` alone.

It never outlives its parent: the kernel kills it (Linux), and it ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from milvane.domain.errors import Conflict
from milvane.instances.settings import LiteSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_LOCKED = 73
"""Another process has the data directory."""
EXIT_ORPHANED = 74
"""The parent is gone."""

_PR_SET_PDEATHSIG = 1
_TURN_S = 0.0005
_M_MMAP_THRESHOLD = -3
_OWN_PAGES_FROM_BYTES = 1024 * 1024
_NEVER_BYTES = str(1 << 62)


class JsonLines(logging.Formatter):
    """Writes each record as one JSON object, for the supervisor to log as its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record, its traceback included."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        return json.dumps({"level": record.levelname, "logger": record.name, "message": message})


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the process; it exits with 0 after a stop that was asked for.

    Returns:
        `EXIT_LOCKED` if the directory is taken.
    """
    gc.disable()  # until everything is imported
    options = _parse(arguments)
    _end_with_parent(options.parent)
    os.umask(0o077)
    _configure_logs(options.log_level)
    # Milvus Lite reads these once, when it is imported. Left alone it would flush inside an
    # insert, beside reads that then miss rows.
    os.environ["MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES"] = _NEVER_BYTES
    os.environ["MILVUS_LITE_WAL_SIZE_LIMIT_BYTES"] = _NEVER_BYTES
    # Threads of one search would wait, spinning, for cores that other searches use.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # A search gives the interpreter away several times, and waits so long for each return beside a
    # thread that computes: a merge, or a write.
    sys.setswitchinterval(_TURN_S)
    _return_freed_memory()
    from milvane.messages import leave_client_out  # the supervisor imports this module too

    leave_client_out()  # 0.4 s and 60 MB: Milvus Lite's server takes pymilvus's messages alone
    from milvane.instances.lite.server import serve  # imports Milvus Lite and numpy

    # Modules stay for good: each look for garbage among them would stop all reads for 100 ms.
    gc.freeze()
    gc.enable()
    try:
        asyncio.run(serve(options.data_dir, options.socket, options.settings))
    except Conflict as error:
        logging.getLogger(__name__).error(error.message)  # noqa: TRY400 - the message says it all
        return EXIT_LOCKED
    logging.shutdown()
    os._exit(0)  # threads of Milvus Lite may still build an index, which nobody waits for


def _return_freed_memory() -> None:
    # Segments come and go by the megabyte: what is freed goes back to the system at once, instead
    # of into the holes of a heap. Arrow reads its variable when it is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform == "linux":
        with suppress(AttributeError):  # only the GNU library has it
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES_FROM_BYTES)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="milvane.instances.lite.process")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--settings", type=LiteSettings.model_validate_json, default=LiteSettings())
    return parser.parse_args(arguments)


def _end_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(EXIT_ORPHANED)
    threading.Thread(target=_watch_input, name="parent-watch", daemon=True).start()


def _watch_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(EXIT_ORPHANED)


def _configure_logs(level: str) -> None:
    stream = logging.StreamHandler()
    stream.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[stream], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # tells which variants it tried


if __name__ == "__main__":
    sys.exit(main())
