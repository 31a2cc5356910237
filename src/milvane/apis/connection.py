"""Work that ends when nobody waits for it any more."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

LONGEST_WAIT_S = 86_400.0
"""What is said to be longer counts as no end."""

HANG_UP = "milvane.hang_up"
"""
Extension of a request's scope: a function that takes what is to be called when the caller hangs up
(at once if they have), or None to have nothing called any more. Two tasks are saved per request.
"""

_PATIENCE = (b"x-request-timeout", b"x-stainless-read-timeout")

Result = TypeVar("Result")


async def run_while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """
    Do a caller's work, and cancel it if the caller hangs up.

    The work has ended when this returns or raises.

    Args:
        request: Its body has been read to the end.

        work: What to do; cancelled if it is not done first.

    Raises:
        ClientDisconnect: If the caller hung up first.
    """
    call_on_hang_up = request.scope.get("extensions", {}).get(HANG_UP)
    if call_on_hang_up is None:
        return await _run_watched(request.receive, work)
    task, hung_up = asyncio.current_task(), False

    def leave() -> None:
        nonlocal hung_up
        hung_up = True
        if task is not None:
            task.cancel()

    call_on_hang_up(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if hung_up:
            raise ClientDisconnect from None
        raise
    finally:
        call_on_hang_up(None)


async def _run_watched(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the same where the server says only to those who ask that somebody has hung up."""
    worker = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_wait_for_hang_up(receive))
    try:
        await asyncio.wait({worker, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            return worker.result()
        raise ClientDisconnect
    finally:
        worker.cancel()
        watcher.cancel()
        await asyncio.gather(worker, watcher, return_exceptions=True)


def time_left_s(request: Request) -> float | None:
    """
    Read how long a caller waits for the answer, in seconds; none if they do not say.

    OpenAI's clients do, in `x-stainless-read-timeout`; others may in `x-request-timeout`. What is
    no such number is not looked at: it is a hint, and the caller hangs up anyway.
    """
    # A tenth of what a request costs would go to looking headers up by name, twice.
    told = {name: value for name, value in request.scope["headers"] if name in _PATIENCE}
    for name in _PATIENCE:
        try:
            seconds = float(told.get(name, b""))
        except ValueError:
            continue
        if 0 < seconds < LONGEST_WAIT_S:
            return seconds
    return None


async def _wait_for_hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
