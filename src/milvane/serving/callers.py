"""
The caller of the work at hand, known wherever it leads.

A front door says once who calls; what runs for the call, in the same task or one that it starts,
asks here. See `docs/decisions/0009-the-caller-travels-beside-the-call.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from milvane.domain.callers import ANYONE, API, Caller, Origin

_CURRENT: ContextVar[Caller] = ContextVar("milvane-caller", default=ANYONE)
_ORIGIN: ContextVar[Origin] = ContextVar("milvane-origin", default=API)


def current_caller() -> Caller:
    """Say for whom the running task works."""
    return _CURRENT.get()


def current_origin() -> Origin:
    """Say what the running task's call came through."""
    return _ORIGIN.get()


@contextmanager
def calling(caller: Caller, origin: Origin = API) -> Iterator[None]:
    """Work for a caller while the context is open."""
    token, origin_token = _CURRENT.set(caller), _ORIGIN.set(origin)
    try:
        yield
    finally:
        _ORIGIN.reset(origin_token)
        _CURRENT.reset(token)
