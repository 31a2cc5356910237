"""
The caller of the work at hand, known wherever it leads.

A front door says once who calls; what runs for the call, in the same task or one that it starts,
asks here. See `docs/decisions/0009-the-caller-travels-beside-the-call.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from milvane.domain.callers import ANYONE, Caller

_CURRENT: ContextVar[Caller] = ContextVar("milvane-caller", default=ANYONE)


def current_caller() -> Caller:
    """Say for whom the running task works."""
    return _CURRENT.get()


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Work for a caller while the context is open."""
    token = _CURRENT.set(caller)
    try:
        yield
    finally:
        _CURRENT.reset(token)
