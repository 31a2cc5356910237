"""Work that ends when nobody waits for it any more."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

LONGEST_WAIT_S = 86_400.0
"""What is said to be longer counts as no end."""

_PATIENCE = (b"x-request-timeout", b"x-stainless-read-timeout")

Result = TypeVar("Result")


async def run_while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """
    Do a caller's work, and cancel it if the caller hangs up.

    Both tasks have ended when this returns or raises.

    Args:
        receive: The request's channel, its body read to the end.

        work: What to do; cancelled if it is not done first.

    Raises:
        ClientDisconnect: If the caller hung up first.
    """
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
