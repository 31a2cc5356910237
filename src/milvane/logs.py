"""Structured log lines: one logger per module, key=value facts, no secrets."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

CHATTY = ("alembic", "asyncio", "faiss", "httpcore2", "httpx2", "uvicorn")
"""Libraries whose lines below a warning are left out; some of them have signed addresses."""

LINE = "%(asctime)s %(levelname)-7s %(name)s  %(message)s"


def configure(level: str = "INFO", *, stream: TextIO | None = None) -> None:
    """
    Send all log records to one stream, one line each.

    Args:
        level: The least severe level that is written.

        stream: Where to write; standard error if not given, so that output stays clean.
    """
    logging.captureWarnings(capture=True)
    logging.basicConfig(
        level=level,
        format=LINE,
        datefmt="%Y-%m-%dT%H:%M:%S%z",
        stream=stream or sys.stderr,
        force=True,
    )
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
